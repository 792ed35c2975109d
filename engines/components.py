"""Load the parts of a diffusers-format Stable Diffusion model and its ControlNet, and refuse what is not one."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from zodi.errors import ModelError
from zodi.model import DEFAULT_GUIDANCE, SETTINGS_FILE, ModelInfo
from zodi.ports import ModelDims

USUAL_CONTROLNET = "lllyasviel/control_v11p_sd15_seg"
SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


SETTINGS_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {  # of zodi.json: what is allowed, in code and words
    "image_size": (lambda value: _is_positive(value) and isinstance(value, int), "a positive whole number"),
    "guidance": (_is_positive, "a positive number"),
    "domain_guidance": (
        lambda value: isinstance(value, dict) and all(map(_is_positive, value.values())),
        "an object of positive numbers",
    ),
    "words": (lambda value: isinstance(value, list), "a list of words"),
}


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
    model: str, controlnet: str | None = None, *, variant: str | None = None, revision: str | None = None
) -> Components:
    """Load a model from a local directory or a hub repository; safetensors only, no code from the repository is run.

    model       directory or hub id in diffusers format. Its `zodi.json`, if any, may set `image_size` (short side in
                pixels), `guidance`, `domain_guidance` (by the domain's name) and `words` (the only words its prompts
                may hold).
    controlnet  directory or hub id; None: the `controlnet` folder inside the model's directory
    variant     file variant of the model, e.g. "non_ema" or "fp16"; parts that have no such file are loaded as usual
    revision    branch, tag or commit of the model's hub repository

    Raises ModelError where a part is missing, damaged, unsupported (SDXL, inpainting, ...) or does not fit the others.
    """
    import torch
    import transformers
    from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    quiet()
    hub: dict[str, Any] = {"revision": revision}
    index = _load("model_index.json", model, lambda: StableDiffusionPipeline.load_config(model, **hub))
    _check_index(model, index)
    settings = _read_settings(model, revision)
    inside = Path(model, "controlnet")
    if controlnet is None and not (inside / "config.json").is_file():
        raise ModelError(f"{model}: has no ControlNet inside: give one with --controlnet, e.g. {USUAL_CONTROLNET}")

    found = {
        name: _load_variant(
            name, model, variant, partial(load, model, subfolder=name, use_safetensors=True, **hub, **more)
        )
        for name, load, more in (
            ("vae", AutoencoderKL.from_pretrained, {}),
            ("unet", UNet2DConditionModel.from_pretrained, {}),
            # transformers loads in the file's own precision unless told; diffusers in float32
            ("text_encoder", transformers.CLIPTextModel.from_pretrained, {"dtype": torch.float32}),
        )
    }
    if variant is not None and not any(of_variant for _, of_variant in found.values()):
        raise ModelError(f"{model}: no part has weights of the variant {variant!r}: check or leave out --variant")
    vae, unet, text_encoder = (part for part, _ in found.values())
    tokenizer = _load(
        "tokenizer", model, lambda: transformers.CLIPTokenizer.from_pretrained(model, subfolder="tokenizer", **hub)
    )
    scheduler = _load("scheduler", model, lambda: DDIMScheduler.load_config(model, subfolder="scheduler", **hub))
    where = controlnet or str(inside)
    control = _load("controlnet", where, lambda: ControlNetModel.from_pretrained(where, use_safetensors=True))
    parts: dict[str, nn.Module] = {"vae": vae, "text_encoder": text_encoder, "unet": unet, "controlnet": control}
    for name, part in parts.items():
        _check_finite(name, where if name == "controlnet" else model, part)

    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    info = ModelInfo(
        name=model,
        controlnet=controlnet or "controlnet",
        hash=weights_hash(parts),
        dims=ModelDims(
            latent_channels=vae.config.latent_channels,
            vae_factor=factor,
            multiple=factor * 2 ** (len(unet.config.block_out_channels) - 1),
            tokens=tokenizer.model_max_length,
            text_width=text_encoder.config.hidden_size,
            hint_channels=control.config.block_out_channels[0],
        ),
        scaling_factor=vae.config.scaling_factor,
        shift_factor=vae.config.shift_factor or 0.0,
        prediction_type=scheduler.get("prediction_type", "epsilon"),
        scheduler={key: scheduler.get(key) for key in SCHEDULE_KEYS},
        image_size=int(settings.get("image_size", factor * _one_side(unet.config.sample_size))),
        guidance=float(settings.get("guidance", DEFAULT_GUIDANCE)),
        domain_guidance={name: float(scale) for name, scale in settings.get("domain_guidance", {}).items()},
        words=tuple(settings["words"]) if "words" in settings else None,
        variant=variant,
        revision=revision,
    )
    _check_fit(model, where, info, unet, control)
    return Components(info, vae, text_encoder, tokenizer, unet, control)


def weights_hash(parts: dict[str, nn.Module]) -> str:
    """sha256 over names, shapes and float32 values of all weights; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part, module in sorted(parts.items()):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{part}.{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def quiet() -> None:
    """Keep the libraries' progress bars and advice off the terminal; their errors still come."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _load(part: str, source: str, load: Callable[[], Any]) -> Any:
    """Call `load`; what the libraries raise for missing, damaged or unreachable files becomes one line."""
    try:
        return load()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if Path(source).is_dir():
            hint = "the directory must be in diffusers format with .safetensors weights"
        elif Path(source).is_absolute() or source.startswith("."):
            raise ModelError(f"{source}: no such directory: give a model directory or a hub id") from None
        else:
            hint = "it is no directory, and loading it from the Hugging Face hub failed: check the id and the network"
        raise ModelError(f"{source}: cannot load {part}: {hint} ({first[:200]})") from None
    except Exception as error:  # safetensors raises its own class, which is a plain Exception
        if type(error).__name__ != "SafetensorError":
            raise
        raise ModelError(f"{source}: the weights of {part} are damaged ({error}): fetch them again") from None


def _load_variant(part: str, model: str, variant: str | None, load: Callable[..., Any]) -> tuple[Any, bool]:
    """A part, and whether its weights are of the variant; without such a file it is the usual one, as in diffusers."""

    def attempt() -> tuple[Any, bool]:
        if variant is not None:
            try:
                return load(variant=variant), True
            except OSError as error:
                if f".{variant}." not in str(error):  # the name of the file that is missing
                    raise
        return load(variant=None), False

    found: tuple[Any, bool] = _load(part, model, attempt)
    return found


def _check_index(model: str, index: dict[str, Any]) -> None:
    kind = str(index.get("_class_name", "?"))
    if "XL" in kind or "text_encoder_2" in index:
        raise ModelError(f"{model}: is SDXL ({kind}), which is not supported: use Stable Diffusion 1.x or 2.x")
    missing = [part for part in ("vae", "text_encoder", "tokenizer", "unet", "scheduler") if part not in index]
    if missing:
        raise ModelError(f"{model}: is a {kind} without {missing[0]}, supported are Stable Diffusion 1.x and 2.x")


def _read_settings(model: str, revision: str | None) -> dict[str, Any]:
    path = Path(model, SETTINGS_FILE)
    if not path.parent.is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = Path(hf_hub_download(model, SETTINGS_FILE, revision=revision))
        except EntryNotFoundError:  # also raised offline for a file that is not in the cache
            return {}
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from None
    for key, value in settings.items():
        if key not in SETTINGS_KEYS:
            raise ModelError(f"{path}: unknown key {key!r}, known are {', '.join(SETTINGS_KEYS)}")
        allowed, kind = SETTINGS_KEYS[key]
        if not allowed(value):
            raise ModelError(f"{path}: {key} = {value!r} is not {kind}")
    return dict(settings)


def _check_finite(name: str, source: str, part: nn.Module) -> None:
    for key, tensor in part.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"{source}: {name} has a weight that is not finite ({key}): the file is damaged, fetch it again"
            )


def _check_fit(model: str, controlnet: str, info: ModelInfo, unet: Any, control: Any) -> None:
    dims = info.dims
    if unet.config.in_channels != dims.latent_channels:
        raise ModelError(
            f"{model}: the UNet takes {unet.config.in_channels} channels, the VAE gives {dims.latent_channels}: "
            "inpainting and depth models are not supported"
        )
    if info.prediction_type not in ("epsilon", "v_prediction"):
        raise ModelError(f"{model}: predicts {info.prediction_type!r}, supported are epsilon and v_prediction")
    widths = {"text encoder": dims.text_width, "UNet": unet.config.cross_attention_dim}
    widths["ControlNet"] = control.config.cross_attention_dim
    if len(set(widths.values())) > 1:
        given = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ModelError(
            f"{controlnet}: cross-attention widths differ ({given}): take a ControlNet made for this model"
        )
    if list(unet.config.block_out_channels) != list(control.config.block_out_channels):
        raise ModelError(
            f"{controlnet}: its channels {list(control.config.block_out_channels)} are not those of the UNet, "
            f"{list(unet.config.block_out_channels)}: take a ControlNet made for this model"
        )
    hint_factor = 2 ** (len(control.config.conditioning_embedding_out_channels) - 1)
    if hint_factor != dims.vae_factor:
        raise ModelError(
            f"{controlnet}: shrinks its input by {hint_factor}, the VAE by {dims.vae_factor}: they must agree"
        )


def _one_side(sample_size: int | list[int]) -> int:
    return sample_size if isinstance(sample_size, int) else min(sample_size)
