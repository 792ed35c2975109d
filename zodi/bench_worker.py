"""The process that measures one engine: it opens it, and answers how long a denoiser call and a batch take."""

import importlib
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zodi.domains import find_domain
from zodi.engines.devices import find_device
from zodi.errors import EngineError, ZodiError
from zodi.labels import CITYSCAPES_19
from zodi.model import ModelInfo
from zodi.opening import EngineChoice, ModelChoice, open_model
from zodi.town import SMALLEST, render
from zodi.transfer.images import control_image, control_planes, decoded_image, source_planes
from zodi.transfer.pipeline import Sampling, encode_images, encode_text, tokenize, transfer_encoded

PEER = "diffusers"
COMPILED_PEER = "torch-compile"  # the same pipeline, its UNet and ControlNet compiled
DOMAIN = "night"


@dataclass(frozen=True)
class Work:
    """What one process measures; `name` is an engine's or a peer's, `batch` the one to open with."""

    model: ModelChoice
    engine: EngineChoice
    name: str
    size: tuple[int, int]
    batch: int
    steps: int
    strength: float
    threads: int


def serve(connection: Connection, work: Work) -> None:
    """Answer questions, each a tuple of a name and, for "call" and "batch", another batch size than the work's.

    "open"    {"precision", and for torch "flops" of a guided call}
    "call"    seconds of a guided denoiser call
    "batch"   seconds, those of them in graphs (None where that is not known), images (B, H, W, 3) uint8
    "peak"    MiB of the process
    "device"  MiB that are taken on the GPU
    """
    torch.set_num_threads(work.threads)
    with ExitStack() as stack:
        answers: dict[str, Callable[..., Any]] = {"peak": _peak_mib, "device": partial(_device_mib, work)}
        while True:
            try:
                question, *arguments = connection.recv()
            except EOFError:
                return
            try:
                if question == "open":
                    peer = work.name in (PEER, COMPILED_PEER)
                    answers |= (
                        importlib.import_module("zodi.bench_peer").open_peer(work) if peer else _open(work, stack)
                    )
                connection.send(answers[question](*arguments))
            except ZodiError as error:
                connection.send(error)
            except ImportError as error:
                connection.send(EngineError(f"a package is missing: {error}"))
            except torch.OutOfMemoryError as error:
                connection.send(EngineError(f"too little memory on the GPU: {str(error).splitlines()[0]}"))


def scenes(work: Work, batch: int) -> tuple[Tensor, Tensor]:
    """A batch of street scenes: images (B, 3, H, W) in -1..1 and control maps (B, 3, H, W) in 0..1."""
    height, width = (max(side, least) for side, least in zip(work.size, SMALLEST, strict=True))
    ids = np.zeros(256, np.uint8)
    ids[[c.train_id for c in CITYSCAPES_19.classes]] = [c.id for c in CITYSCAPES_19.classes]
    images, layouts = [], []
    for seed in range(batch):
        image, label = render(seed, "clear", (height, width))
        images.append(source_planes(image, work.size))
        layouts.append(control_planes(control_image(ids[label], CITYSCAPES_19, work.size)))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(layouts))


def _open(work: Work, stack: ExitStack) -> dict[str, Callable[..., Any]]:
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

    prompts = torch.cat([tokenize(tokenizer, info, p) for p in (domain.full_prompt, domain.negative_prompt)])
    text = encode_text(run, prompts.to(engine.device))
    inputs = cache(lambda images: to_device(call_inputs(info, work, images, text.cpu()), engine.device))
    pictures = cache(lambda images: [tensor.to(engine.device) for tensor in scenes(work, images)])

    def call(images: int = work.batch) -> float:
        given, start = inputs(images), time.perf_counter()
        run("denoiser", given)
        return time.perf_counter() - start

    def batch(images: int = work.batch) -> tuple[float, float, Any]:
        nonlocal inside
        image, layout = pictures(images)
        inside, start = 0.0, time.perf_counter()
        encoded = encode_images(run, image, layout)
        planes = transfer_encoded(run, info, encoded, text[:1], text[1:], range(images), sampling).cpu().numpy()
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


def call_inputs(info: ModelInfo, work: Work, batch: int, text: Tensor) -> dict[str, Tensor]:
    """Inputs of a guided denoiser call, seeded: twice the batch, as in a transfer."""
    generator = torch.Generator().manual_seed(0)
    images = 2 * batch
    height, width = (side // info.dims.vae_factor for side in work.size)
    shape = (images, info.dims.latent_channels, height, width)
    return {
        "latents": torch.randn(shape, generator=generator),
        "timestep": torch.full((images,), 601, dtype=torch.int64),
        "text": text.repeat_interleave(batch, dim=0),
        "hint": torch.randn((images, info.dims.hint_channels, height, width), generator=generator),
        "control_scale": torch.tensor(1.0),
    }


def _peak_mib() -> float:
    """Of this process alone: `ru_maxrss` also counts what the process that started this one had taken."""
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same tensors on a device."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _device_mib(work: Work) -> float | None:
    """All that is taken on the GPU, by whomever: what libraries other than PyTorch hold cannot be told apart."""
    device = find_device(work.engine.device)
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / 2**20
