"""What a model's small files say: index, zodi.json, noise schedule and the parts' configs, read before any weights."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zodi.engines.sources import attempt, read_json
from zodi.errors import ModelError
from zodi.model import SETTINGS_FILE

PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
# config keys of UNets and ControlNets that want an input which the method does not have
FURTHER_INPUTS = {
    "time_cond_proj_dim": "the guidance scale, as latent consistency models",
    "class_embed_type": "a class",
    "num_class_embeds": "a class",
    "addition_embed_type": "more than the prompt, as SDXL",
    "encoder_hid_dim_type": "more than the prompt",
}


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _is_count(value: Any) -> bool:
    return _is_positive(value) and isinstance(value, int)


SETTINGS_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {  # of zodi.json: what is allowed, in code and words
    "image_size": (_is_count, "a positive whole number"),
    "guidance": (_is_positive, "a positive number"),
    "domain_guidance": (
        lambda value: isinstance(value, dict) and all(map(_is_positive, value.values())),
        "an object of positive numbers",
    ),
    "words": (lambda value: isinstance(value, list) and all(isinstance(w, str) for w in value), "a list of words"),
}
SETTINGS_TYPES: dict[str, Callable[[Any], Any]] = {
    "image_size": int,
    "guidance": float,
    "domain_guidance": lambda table: {name: float(scale) for name, scale in table.items()},
    "words": tuple,
}


@dataclass(frozen=True)
class PartConfigs:
    """The configs of the parts with the defaults of their classes filled in."""

    vae: Any
    text_encoder: Any
    unet: Any
    controlnet: Any


def read_index(model: str, revision: str | None) -> dict[str, Any]:
    """model_index.json of a Stable Diffusion 1.x or 2.x; ModelError names what it is of instead."""
    index = read_json(model, "model_index.json", revision)
    kind = str(index.get("_class_name", "?"))
    if "XL" in kind:
        raise ModelError(f"{model}: is SDXL ({kind}), which is not supported: use Stable Diffusion 1.x or 2.x")
    wrong = [f"without {part}" for part in PARTS if part not in index]
    wrong += ["with two text encoders"] if "text_encoder_2" in index else []
    if wrong:
        raise ModelError(f"{model}: is a {kind} {wrong[0]}, supported are Stable Diffusion 1.x and 2.x")
    return index


def read_settings(model: str, revision: str | None) -> dict[str, Any]:
    """What zodi.json sets of `ModelInfo`, nothing where there is none; ModelError for what it may not hold."""
    if Path(model).is_dir():
        if not Path(model, SETTINGS_FILE).is_file():
            return {}
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            hf_hub_download(model, SETTINGS_FILE, revision=revision)
        except EntryNotFoundError:  # also raised offline for a file that is not in the cache
            return {}
    settings = read_json(model, SETTINGS_FILE, revision)
    for key, value in settings.items():
        if key not in SETTINGS_KEYS:
            raise ModelError(f"{model}: {SETTINGS_FILE}: unknown key {key!r}, known are {', '.join(SETTINGS_KEYS)}")
        allowed, kind = SETTINGS_KEYS[key]
        if not allowed(value):
            raise ModelError(f"{model}: {SETTINGS_FILE}: {key} = {value!r} is not {kind}")
    return {key: SETTINGS_TYPES[key](value) for key, value in settings.items()}


def read_schedule(model: str, index: dict[str, Any], revision: str | None) -> tuple[dict[str, Any], str]:
    """The keys that fix the noise schedule, and the prediction type.

    What the file leaves out is what diffusers' scheduler of the index takes instead. Raises ModelError for a scheduler
    without a schedule of betas, and for a prediction type that the sampler has no formula for.
    """
    import diffusers

    config = read_json(model, "scheduler/scheduler_config.json", revision)
    listed = index["scheduler"][1] if isinstance(index["scheduler"], list) and len(index["scheduler"]) == 2 else None
    name = str(listed or config.get("_class_name"))
    scheduler = getattr(diffusers, name, diffusers.DDIMScheduler)
    parameters = inspect.signature(scheduler.__init__).parameters.values()
    config = {p.name: p.default for p in parameters if p.default is not p.empty} | config
    for key, allowed in (
        ("num_train_timesteps", _is_count(config.get("num_train_timesteps"))),
        ("beta_start", _is_positive(config.get("beta_start"))),
        ("beta_end", _is_positive(config.get("beta_end"))),
    ):
        if not allowed and config.get("trained_betas") is None:
            raise ModelError(
                f"{model}: its scheduler ({name}) has {key} = {config.get(key)!r}: supported are the noise schedules "
                "of Stable Diffusion 1.x and 2.x, which have betas"
            )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise ModelError(f"{model}: predicts {prediction!r}, supported are epsilon and v_prediction")
    return {key: config.get(key) for key in SCHEDULE_KEYS}, prediction


def read_configs(model: str, controlnet: str, revision: str | None) -> PartConfigs:
    """The parts' configs, checked against each other and against what the method can give them.

    Raises ModelError that names the part that does not fit.
    """
    import torch
    import transformers
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    def read(part: str, kind: Any, source: str, file: str, revision: str | None) -> Any:
        config = read_json(source, file, revision)
        _check_class(source, part, kind.__name__, config)
        with torch.device("meta"):  # the class itself says what it makes of the config
            return attempt(part, source, lambda: kind.from_config(config)).config

    configs = PartConfigs(
        vae=read("vae", AutoencoderKL, model, "vae/config.json", revision),
        text_encoder=attempt(
            "text_encoder",
            model,
            lambda: transformers.CLIPTextConfig.from_pretrained(model, subfolder="text_encoder", revision=revision),
        ),
        unet=read("unet", UNet2DConditionModel, model, "unet/config.json", revision),
        controlnet=read("controlnet", ControlNetModel, controlnet, "config.json", None),
    )
    _check_inputs(model, controlnet, configs)
    _check_fit(controlnet, configs)
    return configs


def image_side(model: str, unet: Any, factor: int, otherwise: int | None) -> int:
    """The short side in pixels that the UNet was trained at; ModelError where neither its config nor the user says."""
    size = unet.sample_size
    if size is None and otherwise is not None:
        return otherwise
    if size is None:
        raise ModelError(f"{model}: the UNet's config has no sample_size: give --image-size, e.g. 512")
    return factor * (size if isinstance(size, int) else min(size))


def _check_class(source: str, part: str, expected: str, config: dict[str, Any]) -> None:
    import diffusers

    given = str(config.get("_class_name", expected))
    if given != expected and hasattr(diffusers, given):  # names of one's own may be anything
        raise ModelError(f"{source}: {part} is a {given}, supported is {expected}")


def _check_inputs(model: str, controlnet: str, configs: PartConfigs) -> None:
    """What the networks want as inputs must be what the method has."""
    unet, control, channels = configs.unet, configs.controlnet, configs.vae.latent_channels
    if unet.in_channels != channels:
        raise ModelError(
            f"{model}: the UNet takes {unet.in_channels} channels, the VAE gives {channels}: "
            "inpainting and depth models are not supported"
        )
    if control.conditioning_channels != 3:
        raise ModelError(
            f"{controlnet}: takes images of {control.conditioning_channels} channels, zodi's label maps have 3: "
            "take a ControlNet for segmentation maps"
        )
    for source, part, config in ((model, "UNet", unet), (controlnet, "ControlNet", control)):
        for key, wanted in FURTHER_INPUTS.items():
            if config.get(key) not in (None, "text", "text_proj"):  # the prompt is there
                raise ModelError(f"{source}: the {part} wants {wanted} ({key}), which is not supported")


def _check_fit(controlnet: str, configs: PartConfigs) -> None:
    """The parts must be of one model."""
    unet, control = configs.unet, configs.controlnet
    widths = {
        "text encoder": configs.text_encoder.hidden_size,
        "UNet": unet.cross_attention_dim,
        "ControlNet": control.cross_attention_dim,
    }
    if len({str(width) for width in widths.values()}) > 1:
        given = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ModelError(
            f"{controlnet}: cross-attention widths differ ({given}): take a ControlNet made for this model"
        )
    if list(unet.block_out_channels) != list(control.block_out_channels):
        raise ModelError(
            f"{controlnet}: its channels {list(control.block_out_channels)} are not those of the UNet, "
            f"{list(unet.block_out_channels)}: take a ControlNet made for this model"
        )
    hint_factor = 2 ** (len(control.conditioning_embedding_out_channels) - 1)
    vae_factor = 2 ** (len(configs.vae.block_out_channels) - 1)
    if hint_factor != vae_factor:
        raise ModelError(f"{controlnet}: shrinks its input by {hint_factor}, the VAE by {vae_factor}: they must agree")
