"""What engines are measured beside: diffusers' StableDiffusionControlNetImg2ImgPipeline, eager or compiled.

It has no inversion pass, and embeds the control map in every call.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zodi.bench_worker import COMPILED_PEER, DOMAIN, PEER, Work, call_inputs, scenes, to_device
from zodi.domains import find_domain
from zodi.engines.devices import find_device
from zodi.engines.torch import PRECISIONS
from zodi.opening import load_model


def open_peer(work: Work) -> dict[str, Callable[..., Any]]:
    """What answers "open", "call" and "batch", see `zodi.bench_worker.serve`."""
    from diffusers import DDIMScheduler, StableDiffusionControlNetImg2ImgPipeline

    components = load_model(work.model, image_size=min(work.size))
    info, device, dtype = components.info, find_device(work.engine.device), PRECISIONS[work.engine.precision]
    scheduler_class: Any = DDIMScheduler  # diffusers annotates arguments more narrowly than it takes them
    pipeline_class: Any = StableDiffusionControlNetImg2ImgPipeline
    pipe = pipeline_class(
        vae=components.vae, text_encoder=components.text_encoder, tokenizer=components.tokenizer,
        unet=components.unet, controlnet=components.controlnet, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
        scheduler=scheduler_class(
            **info.scheduler, prediction_type=info.prediction_type, clip_sample=False, set_alpha_to_one=False,
            steps_offset=1,
        ),
    ).to(device, dtype)  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    if work.name == COMPILED_PEER:
        pipe.unet.compile()
        pipe.controlnet.compile()
    domain = find_domain(DOMAIN)
    text = torch.randn((2, info.dims.tokens, info.dims.text_width), generator=torch.Generator().manual_seed(0))
    pictures = cache(lambda images: [tensor.to(device, dtype) for tensor in scenes(work, images)])

    @cache
    def inputs(images: int) -> tuple[Tensor, ...]:
        given = to_device(call_inputs(info, work, images, text), device)
        layouts = torch.cat([pictures(images)[1]] * 2)
        return given["latents"].to(dtype), given["timestep"], given["text"].to(dtype), layouts

    @torch.inference_mode()
    def call(images: int = work.batch) -> float:
        x, t, states, layouts = inputs(images)
        start = time.perf_counter()
        down, mid = pipe.controlnet(x, t, states, controlnet_cond=layouts, return_dict=False)
        pipe.unet(
            x, t, states, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
        )
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    def batch(images: int = work.batch) -> tuple[float, float | None, Any]:
        image, layout = pictures(images)
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

        # on a GPU calls return before the work is done, and what was compiled must stay as it is
        known = device.type == "cpu" and work.name == PEER
        graphs = (pipe.unet, pipe.controlnet, pipe.text_encoder, pipe.vae.encoder, pipe.vae.decoder) if known else ()
        parts = {part: timed(part) for part in graphs}
        for part, (_, run) in parts.items():
            part.forward = run
        start = time.perf_counter()
        results = pipe(
            [domain.full_prompt] * images,
            image=(image + 1) / 2,
            control_image=layout,
            negative_prompt=[domain.negative_prompt] * images,
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
        return seconds, inside if known else None, (results * 255).astype(np.uint8)

    def describe() -> dict[str, Any]:
        call()
        return {"precision": work.engine.precision}

    return {"open": describe, "call": call, "batch": batch}
