"""Stable-Diffusion-format models of any size, untrained: what the bundled model starts as, and what tests use."""

import copy
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zodi.model import SETTINGS_FILE

TOKENS = 77
SCHEDULE = {  # Stable Diffusion 1.5
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


def build_parts(
    *,
    vae_channels: Sequence[int] = (4, 4, 8, 8),
    unet_channels: Sequence[int] = (4, 8),
    hint_channels: Sequence[int] | None = None,
    layers: int = 1,
    latent_channels: int = 4,
    text_width: int = 16,
    groups: int = 2,
    heads: int = 2,
    attention: Sequence[bool] | None = None,
    vae_attention: bool = True,
    words: Sequence[str] = (),
    scaling_factor: float = 0.18215,
    schedule: Mapping[str, Any] = SCHEDULE,
    seed: int = 0,
) -> dict[str, Any]:
    """The parts of a pipeline by their diffusers names, seeded.

    vae_channels   one entry per level; the VAE shrinks by 2 ** (levels - 1)
    unet_channels  one entry per level
    hint_channels  of the ControlNet's embedding of the layout, one entry per level of the VAE; None: as vae_channels
    attention      which levels of the UNet have it; None: all but the last, as in Stable Diffusion
    vae_attention  whether the VAE's middle block has it
    words          the tokenizer's vocabulary beside single characters
    schedule       of the noise, as diffusers' scheduler takes it
    seed           of the weights; PyTorch's global state is left as it was
    """
    import transformers
    from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel

    levels = len(vae_channels)
    attends = [True] * (len(unet_channels) - 1) + [False] if attention is None else list(attention)
    tokenizer = build_tokenizer(words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        autoencoder_class: Any = AutoencoderKL  # annotates tuples of one entry
        vae = autoencoder_class(
            block_out_channels=tuple(vae_channels),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=layers,
            latent_channels=latent_channels,
            norm_num_groups=groups,
            mid_block_add_attention=vae_attention,
            scaling_factor=scaling_factor,
        )
        text_encoder = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=text_width,
                intermediate_size=4 * text_width,
                num_hidden_layers=2,
                num_attention_heads=heads,
                max_position_embeddings=TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=tuple(unet_channels),
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            layers_per_block=layers,
            cross_attention_dim=text_width,
            attention_head_dim=heads,
            norm_num_groups=groups,
        )
        controlnet = ControlNetModel.from_unet(
            unet, conditioning_channels=3, conditioning_embedding_out_channels=tuple(hint_channels or vae_channels)
        )
    return {
        "vae": vae,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "unet": unet,
        "controlnet": controlnet,
        "scheduler": DDIMScheduler(**schedule),
    }


def fill_zero_convolutions(controlnet: nn.Module, seed: int, scale: float = 0.2) -> None:
    """Give the convolutions that a fresh ControlNet starts at zero seeded noise, so that its input matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in controlnet.parameters():
        if not parameter.any():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def build_tokenizer(words: Sequence[str]) -> Any:
    """A CLIP tokenizer of single characters and, as one token each where byte-pair merging allows, the words."""
    import transformers

    characters = string.ascii_lowercase + string.digits + ",.-'"
    vocabulary = [*characters, *(f"{c}</w>" for c in characters)]
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        left = word[0] if len(word) > 1 else f"{word}</w>"
        for i, character in enumerate(word[1:], start=2):
            right = character if i < len(word) else f"{character}</w>"
            merges[(left, right)] = None
            left += right
            vocabulary.append(left)
    tokens = list(dict.fromkeys([*vocabulary, "<|startoftext|>", "<|endoftext|>"]))
    tokenizer_class: Any = transformers.CLIPTokenizer  # annotates merges as strings, and takes pairs alone
    return tokenizer_class(
        vocab={token: i for i, token in enumerate(tokens)}, merges=list(merges), model_max_length=TOKENS
    )


def save_model(
    parts: dict[str, Any], directory: Path, settings: dict[str, Any], *, dtype: torch.dtype = torch.float32
) -> None:
    """Write the parts as a model directory: diffusers layout, ControlNet in `controlnet/`, `zodi.json`, safetensors."""
    index: dict[str, Any] = {"_class_name": "StableDiffusionControlNetPipeline"}
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            copy.deepcopy(part).to(dtype).save_pretrained(directory / name, safe_serialization=True)  # type: ignore[operator]
        else:
            part.save_pretrained(directory / name)
        index[name] = [type(part).__module__.split(".")[0], type(part).__name__]
    (directory / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    (directory / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
