"""Stable Diffusion 1.5's sizes with random weights: memory of the export, and parity of every engine per graph."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

PARENT = """
import sys, torch, transformers
from pathlib import Path
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from zodi.town.parts import SCHEDULE, build_tokenizer, fill_zero_convolutions, save_model
torch.manual_seed(0)
unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
controlnet = ControlNetModel.from_unet(unet)
fill_zero_convolutions(controlnet, seed=1, scale=0.02)
vae = AutoencoderKL(
    block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, scaling_factor=0.18215,
)
tokenizer = build_tokenizer(["driving", "at", "night"])
text_encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(
    vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
    num_attention_heads=12,
))
parts = {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet, "controlnet": controlnet,
         "scheduler": DDIMScheduler(**SCHEDULE)}
save_model(parts, Path(sys.argv[1]), {"image_size": 256})
"""


def zodi(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "zodi.cli", *map(str, arguments)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_export_and_engines_at_full_size(tmp_path: Path):
    model, bundle = tmp_path / "model", tmp_path / "bundle"
    subprocess.run([sys.executable, "-c", PARENT, str(model)], check=True)
    zodi(
        "export-engines", "--model", model, "--engine", "onnx", "--image-size", "256x512", "--batch", "1",
        "--bundle", bundle,
    )  # fmt: skip
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    assert peak_gib <= 14
    for engine in ("ort", "openvino"):
        zodi("engines", "verify", bundle, "--engine", engine)
