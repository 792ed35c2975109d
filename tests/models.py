"""Copies of the tiny model with something changed in its files, and the same model as one file."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

WEIGHTS = {
    "text_encoder": "text_encoder/model.safetensors",
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "controlnet": "controlnet/diffusion_pytorch_model.safetensors",
}
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # of the VAE, in 2022
LDM_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
LDM_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
LDM_VAE = (
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"mid_block\.attentions\.0\.to_(.)", r"mid.attn_1.\1"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
)


def copy(model: Path, target: Path) -> Path:
    return Path(shutil.copytree(model, target))


def change_weights(model: Path, part: str, change: Callable[[dict], dict]) -> None:
    """Write a part's weight file anew, with what `change` makes of its tensors by name."""
    path = model / WEIGHTS[part]
    changed = change(load_file(path))
    save_file({name: tensor.contiguous() for name, tensor in changed.items()}, path, {"format": "pt"})


def change_json(path: Path, **values) -> None:
    """Set keys of a JSON object; ... takes a key away."""
    table = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (table | values).items() if v is not ...}))


def write_single_file(model: Path, path: Path) -> None:
    """A model of four levels with two layers each, as one file with the names of CompVis' latent diffusion."""
    unet, vae, text = (load_file(model / WEIGHTS[part]) for part in ("unet", "vae", "text_encoder"))
    merged = {f"model.diffusion_model.{_unet_name(name)}": tensor for name, tensor in unet.items()}
    for name, tensor in vae.items():
        for pattern, replacement in LDM_VAE:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block", name)
        name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
        linear = ".attn_1." in name and tensor.ndim == 2  # a convolution there
        merged[f"first_stage_model.{name}"] = tensor[:, :, None, None] if linear else tensor
    for name, tensor in text.items():
        merged[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in merged.items()}, path)


def _unet_name(name: str) -> str:
    for start, ldm in LDM_UNET.items():
        if name.startswith(f"{start}."):
            return _resnet_name(name.replace(start, ldm, 1), "resnets" in start)
    side, level, kind, number, rest = name.split(".", 4)
    if kind == "downsamplers":
        return f"input_blocks.{3 * int(level) + 3}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * int(level) + 2}.{2 if int(level) else 1}.{rest}"
    block, first = ("input_blocks", 1) if side == "down_blocks" else ("output_blocks", 0)
    at = f"{block}.{3 * int(level) + int(number) + first}.{0 if kind == 'resnets' else 1}"
    return _resnet_name(f"{at}.{rest}", kind == "resnets")


def _resnet_name(name: str, resnet: bool) -> str:
    for new, ldm in LDM_RESNET.items() if resnet else ():
        name = name.replace(f".{new}.", f".{ldm}.")
    return name
