"""Load the parts of a diffusers-format Stable Diffusion model and its ControlNet, and refuse what is not one."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zodi.engines.model_config import (
    PartConfigs,
    image_side,
    read_configs,
    read_index,
    read_schedule,
    read_settings,
)
from zodi.engines.sources import check_source
from zodi.engines.tokenizer import load_tokenizer
from zodi.engines.weights import Notify, PartSource, load_weights, weights_hash
from zodi.errors import ModelError
from zodi.model import ModelInfo
from zodi.ports import ModelDims

USUAL_CONTROLNET = "lllyasviel/control_v11p_sd15_seg"


@dataclass
class Components:
    """The loaded parts, in float32 on the CPU, and what is known of them."""

    info: ModelInfo
    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    controlnet: Any


def load_components(
    model: str,
    controlnet: str | None = None,
    *,
    variant: str | None = None,
    revision: str | None = None,
    image_size: int | None = None,
    notify: Notify = lambda message: None,
) -> Components:
    """Load a model from a local directory or a hub repository; safetensors only, no code from the repository is run.

    model       directory or hub id in diffusers format. Its `zodi.json`, if any, may set `image_size` (short side in
                pixels), `guidance`, `domain_guidance` (by the domain's name) and `words` (the only words its prompts
                may hold).
    controlnet  directory or hub id; None: the `controlnet` folder inside the model's directory
    variant     file variant of the model and the ControlNet, e.g. "non_ema" or "fp16"; parts that have no such file
                are loaded as usual
    revision    branch, tag or commit of the model's hub repository
    image_size  the short side for a model that does not name its own
    notify      told of weights in the files that the parts have no use for

    Small files are read and checked first, weights last. Raises ModelError where a part is missing, incomplete,
    damaged, unsupported (SDXL, inpainting, ...) or does not fit the others.
    """
    quiet()
    check_source(model, "model")
    index = read_index(model, revision)
    settings = read_settings(model, revision)
    inside = Path(model, "controlnet")
    if controlnet is not None:
        check_source(controlnet, "controlnet")
    elif not (inside / "config.json").is_file():
        raise ModelError(f"{model}: has no ControlNet inside: give one with --controlnet, e.g. {USUAL_CONTROLNET}")
    where = controlnet or str(inside)
    schedule, prediction_type = read_schedule(model, index, revision)
    configs = read_configs(model, where, revision)
    tokenizer = load_tokenizer(model, configs.text_encoder, revision)
    dims = _dims(configs, tokenizer.model_max_length)
    if "image_size" not in settings:
        settings["image_size"] = image_side(model, configs.unet, dims.vae_factor, image_size)
    parts = _load_parts(model, where, variant, revision, notify)
    info = ModelInfo(
        name=model,
        controlnet=controlnet or "controlnet",
        hash=weights_hash(parts),
        dims=dims,
        scaling_factor=configs.vae.scaling_factor,
        shift_factor=configs.vae.shift_factor or 0.0,
        prediction_type=prediction_type,
        scheduler=schedule,
        variant=variant,
        revision=revision,
        **settings,
    )
    return Components(info, tokenizer=tokenizer, **parts)


def _dims(configs: PartConfigs, tokens: int) -> ModelDims:
    factor = 2 ** (len(configs.vae.block_out_channels) - 1)
    return ModelDims(
        latent_channels=configs.vae.latent_channels,
        vae_factor=factor,
        multiple=factor * 2 ** (len(configs.unet.block_out_channels) - 1),
        tokens=tokens,
        text_width=configs.text_encoder.hidden_size,
        hint_channels=configs.controlnet.block_out_channels[0],
    )


def _load_parts(
    model: str, controlnet: str, variant: str | None, revision: str | None, notify: Notify
) -> dict[str, Any]:
    """The parts' modules by name."""
    import torch
    import transformers
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    loaders: dict[PartSource, Callable[..., Any]] = {
        PartSource("vae", model, "vae", revision): AutoencoderKL.from_pretrained,
        PartSource("unet", model, "unet", revision): UNet2DConditionModel.from_pretrained,
        # transformers loads in the file's own precision unless told; diffusers in float32
        PartSource("text_encoder", model, "text_encoder", revision): partial(
            transformers.CLIPTextModel.from_pretrained, dtype=torch.float32
        ),
        PartSource("controlnet", controlnet, ""): ControlNetModel.from_pretrained,
    }
    found = {part.name: load_weights(part, load, variant, notify) for part, load in loaders.items()}
    if variant is not None and not any(of_variant for _, of_variant in found.values()):
        raise ModelError(f"{model}: no part has weights of the variant {variant!r}: check or leave out --variant")
    return {name: part for name, (part, _) in found.items()}


def quiet() -> None:
    """Keep the libraries' progress bars and advice off the terminal; their errors still come."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
