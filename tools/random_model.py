"""Write a Stable Diffusion with ControlNet of SD 1.5's sizes and random weights: 4.5 GB, to measure on, not to look at.

python tools/random_model.py DIR [--image-size 512]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel

from zodi.town.parts import SCHEDULE, build_tokenizer, fill_zero_convolutions, save_model

WORDS = ["driving", "at", "night"]


def write_random_model(directory: Path, image_size: int) -> None:
    """The parts of a pipeline in diffusers format, seeded; `image_size` is the short side that it is made for."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    controlnet = ControlNetModel.from_unet(unet)
    fill_zero_convolutions(controlnet, seed=1, scale=0.02)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        scaling_factor=0.18215,
    )
    tokenizer = build_tokenizer(WORDS)
    text_encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
        )
    )
    parts = {
        "vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet, "controlnet": controlnet,
        "scheduler": DDIMScheduler(**SCHEDULE),
    }  # fmt: skip
    save_model(parts, directory, {"image_size": image_size})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--image-size", type=int, default=512, metavar="PIXELS", help="short side (default: 512)")
    options = parser.parse_args(arguments)
    write_random_model(options.directory, options.image_size)


if __name__ == "__main__":
    main()
