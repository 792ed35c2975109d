"""The process that measures one engine: it opens it, and answers how long a denoiser call and a batch take."""

import resource
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zodi.domains import find_domain
from zodi.errors import ZodiError
from zodi.labels import CITYSCAPES_19
from zodi.model import ModelInfo
from zodi.opening import EngineChoice, ModelChoice, load_model, open_model
from zodi.town import SMALLEST, render
from zodi.transfer.images import control_image, control_planes, decoded_image, source_planes
from zodi.transfer.pipeline import Sampling, encode_images, encode_text, tokenize, transfer_encoded

PEER = "diffusers"
DOMAIN = "night"


@dataclass(frozen=True)
class Work:
    """What one process measures; `name` is an engine's or the peer's."""

    model: ModelChoice
    engine: EngineChoice
    name: str
    size: tuple[int, int]
    batch: int
    steps: int
    strength: float
    threads: int


def serve(connection: Connection, work: Work) -> None:
    """Answer "open", "call" (seconds), "batch" (seconds, of them in graphs, images uint8) and "peak" (MiB)."""
    torch.set_num_threads(work.threads)
    with ExitStack() as stack:
        answers: dict[str, Callable[[], Any]] = {"peak": _peak_mib}
        while True:
            try:
                question = connection.recv()
            except EOFError:
                return
            try:
                if question == "open":
                    opened = _open_peer(work) if work.name == PEER else _open_engine(work, stack)
                    answers |= opened
                connection.send(answers[question]())
            except ZodiError as error:
                connection.send(error)


def scenes(work: Work) -> tuple[Tensor, Tensor]:
    """A batch of street scenes: images (B, 3, H, W) in -1..1 and control maps (B, 3, H, W) in 0..1."""
    height, width = (max(side, least) for side, least in zip(work.size, SMALLEST, strict=True))
    ids = np.zeros(256, np.uint8)
    ids[[c.train_id for c in CITYSCAPES_19.classes]] = [c.id for c in CITYSCAPES_19.classes]
    images, layouts = [], []
    for seed in range(work.batch):
        image, label = render(seed, "clear", (height, width))
        images.append(source_planes(image, work.size))
        layouts.append(control_planes(control_image(ids[label], CITYSCAPES_19, work.size)))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(layouts))


def _open_engine(work: Work, stack: ExitStack) -> dict[str, Callable[[], Any]]:
    choice = EngineChoice(work.name, work.engine.precision, work.engine.device, work.engine.bundle, work.threads)
    model = ModelChoice(model=None) if choice.bundle is not None else work.model
    engine, info, tokenizer = stack.enter_context(
        open_model(model, choice, batch=work.batch, image_size=min(work.size))
    )
    domain = find_domain(DOMAIN)
    sampling = Sampling(strength=work.strength, guidance=info.guidance, steps=work.steps)
    inside = 0.0

    def run(graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        nonlocal inside
        start = time.perf_counter()
        outputs = engine.run(graph, inputs)
        if engine.device.type == "cuda":
            torch.cuda.synchronize(engine.device)
        inside += time.perf_counter() - start
        return outputs

    image, layout = (tensor.to(engine.device) for tensor in scenes(work))
    prompts = torch.cat([tokenize(tokenizer, info, p) for p in (domain.full_prompt, domain.negative_prompt)])
    text = encode_text(run, prompts.to(engine.device))
    inputs = {name: tensor.to(engine.device) for name, tensor in call_inputs(info, work, text.cpu()).items()}

    def call() -> float:
        start = time.perf_counter()
        run("denoiser", inputs)
        return time.perf_counter() - start

    def batch() -> tuple[float, float, Any]:
        nonlocal inside
        inside, start = 0.0, time.perf_counter()
        encoded = encode_images(run, image, layout)
        planes = transfer_encoded(run, info, encoded, text[:1], text[1:], range(work.batch), sampling).cpu().numpy()
        return time.perf_counter() - start, inside, np.stack([decoded_image(each) for each in planes])

    def describe() -> dict[str, Any]:
        flops = None
        if work.name == "torch":
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                call()
            flops = counter.get_total_flops()
        else:
            call()
        return {"precision": engine.precision, "flops": flops}

    return {"open": describe, "call": call, "batch": batch}


def _open_peer(work: Work) -> dict[str, Callable[[], Any]]:
    """diffusers' StableDiffusionControlNetImg2ImgPipeline, eager fp32: no inversion pass, the hint in every call."""
    from diffusers import DDIMScheduler, StableDiffusionControlNetImg2ImgPipeline

    from zodi.engines.devices import find_device

    components = load_model(work.model)
    info, device = components.info, find_device(work.engine.device)
    pipe: Any = StableDiffusionControlNetImg2ImgPipeline(
        vae=components.vae, text_encoder=components.text_encoder, tokenizer=components.tokenizer,
        unet=components.unet, controlnet=components.controlnet, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
        scheduler=DDIMScheduler(
            **info.scheduler, prediction_type=info.prediction_type, clip_sample=False, set_alpha_to_one=False,
            steps_offset=1,
        ),
    ).to(device)  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    domain = find_domain(DOMAIN)
    image, layout = (tensor.to(device) for tensor in scenes(work))
    text = torch.randn((2, info.dims.tokens, info.dims.text_width), generator=torch.Generator().manual_seed(0))
    inputs = {name: tensor.to(device) for name, tensor in call_inputs(info, work, text).items()}
    layouts = torch.cat([layout, layout])

    @torch.inference_mode()
    def call() -> float:
        start = time.perf_counter()
        x, t, states = inputs["latents"], inputs["timestep"], inputs["text"]
        down, mid = pipe.controlnet(x, t, states, controlnet_cond=layouts, return_dict=False)
        pipe.unet(
            x, t, states, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    def batch() -> tuple[float, float, Any]:
        inside = 0.0

        def timed(module: Any) -> Any:
            forward = module.forward

            def run(*arguments: Any, **named: Any) -> Any:
                nonlocal inside
                start = time.perf_counter()
                result = forward(*arguments, **named)
                inside += time.perf_counter() - start
                return result

            return forward, run

        parts = {part: timed(part) for part in (pipe.unet, pipe.controlnet, pipe.text_encoder, *_halves(pipe.vae))}
        for part, (_, run) in parts.items():
            part.forward = run
        start = time.perf_counter()
        images = pipe(
            [domain.full_prompt] * work.batch,
            image=(image + 1) / 2,
            control_image=layout,
            negative_prompt=[domain.negative_prompt] * work.batch,
            strength=work.strength,
            num_inference_steps=work.steps,
            guidance_scale=info.guidance,
            eta=1.0,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images
        seconds = time.perf_counter() - start
        for part, (forward, _) in parts.items():
            part.forward = forward
        return seconds, inside, (images * 255).astype(np.uint8)

    def describe() -> dict[str, Any]:
        call()
        return {"precision": "fp32"}

    return {"open": describe, "call": call, "batch": batch}


def call_inputs(info: ModelInfo, work: Work, text: Tensor) -> dict[str, Tensor]:
    """Inputs of a guided denoiser call, seeded: twice the batch, as in a transfer."""
    generator = torch.Generator().manual_seed(0)
    images = 2 * work.batch
    height, width = (side // info.dims.vae_factor for side in work.size)
    shape = (images, info.dims.latent_channels, height, width)
    return {
        "latents": torch.randn(shape, generator=generator),
        "timestep": torch.full((images,), 601, dtype=torch.int64),
        "text": text.repeat_interleave(work.batch, dim=0),
        "hint": torch.randn((images, info.dims.hint_channels, height, width), generator=generator),
        "control_scale": torch.tensor(1.0),
    }


def _halves(vae: Any) -> tuple[Any, Any]:
    return vae.encoder, vae.decoder


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
