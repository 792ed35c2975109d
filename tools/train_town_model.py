"""Train the diffusion model that ships with zodi, from scratch, on rendered town scenes.

    python tools/train_town_model.py --stage all --out DIR [--scenes 8000] [--minutes 60] [--device cuda]

Stages: data (render scenes), autoencoder, diffusion (encodes the scenes first), export (writes OUT/model), evaluate
(writes OUT/evaluation). Every stage goes on where it was broken off: by --minutes, SIGTERM, or a crash, which loses the
minutes since the last checkpoint. More --scenes or more steps continue a run that was done.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from town_model.autoencoder import train_autoencoder
from town_model.data import render_scenes
from town_model.diffusion import train_diffusion
from town_model.export import export
from town_model.settings import DOMAIN_CYCLE, Settings, open_settings
from town_model.training import Clock

from zodi.domains import PRESETS
from zodi.transfer.signals import stop_on_signals


def channels(text: str) -> tuple[int, ...]:
    """ "8,16,32" as numbers."""
    return tuple(int(part) for part in text.split(","))


def domains(text: str) -> tuple[str, ...]:
    """ "game,fog" as names of domains; "" as none."""
    names = tuple(text.split(",")) if text else ()
    if unknown := sorted(set(names) - set(DOMAIN_CYCLE)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not of {', '.join(dict.fromkeys(DOMAIN_CYCLE))}")
    return names


GIVEN: dict[str, Callable[[str], Any]] = {  # settings that options set, and how they are read
    **dict.fromkeys(("encoder_steps", "autoencoder_steps", "diffusion_steps", "seed"), int),
    **dict.fromkeys(("autoencoder_batch", "diffusion_batch", "latent_channels", "text_width", "heads", "groups"), int),
    **dict.fromkeys(("autoencoder_rate", "diffusion_rate", "beta_end", "kl", "perceptual"), float),
    "start": str,
    "emphasis": domains,
    **dict.fromkeys(("vae_channels", "hint_channels", "unet_channels"), channels),
}
STAGES = ("data", "autoencoder", "diffusion", "export", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage or all; 0 done, 130 / 143 interrupted."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    threads = options.threads or torch.get_num_threads()
    device = torch.device(options.device)
    settings = open_settings(options.out, given_settings(options))
    with stop_on_signals() as stopped:
        clock = Clock(options.minutes, stopped)
        for stage in STAGES if options.stage == "all" else (options.stage,):
            if clock.over():
                break
            if stage == "data":
                render_scenes(options.out, options.scenes, threads=threads, clock=clock)
            elif stage == "autoencoder":
                train_autoencoder(options.out, settings, device, clock, options.save_minutes)
            elif stage == "diffusion":
                train_diffusion(options.out, settings, device, clock, options.save_minutes)
            elif stage == "export":
                export(options.out, settings, options.model or options.out / "model")
            else:
                from town_model.evaluate import evaluate  # takes most of zodi with it

                evaluate(
                    options.out, options.model or options.out / "model",
                    scenes=options.eval_scenes,
                    targets=options.target or list(PRESETS), judges=dict(options.judge), device=options.device,
                )  # fmt: skip
    return stopped.exit_status if stopped() else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--scenes", type=int, default=8000, help="training scenes to render (default 8000)")
    parser.add_argument("--threads", type=int, help="threads, and processes that render (default: PyTorch's)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda; bf16 autocast where it has bf16")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes, with a checkpoint")
    parser.add_argument("--save-minutes", type=float, default=3.0, help="time between checkpoints (default 3)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="where the export is (default OUT/model)")
    parser.add_argument("--eval-scenes", type=int, default=16, help="held-out scenes to evaluate on (default 16)")
    parser.add_argument("--target", action="append", choices=list(PRESETS), help="transfer only to this; repeat")
    parser.add_argument("--judge", action="append", default=[], type=_judge, metavar="DOMAIN=DIR",
                        help="segmenter checkpoint trained on rendered scenes of a domain; repeat")  # fmt: skip
    sizes = parser.add_argument_group("settings of a new run; steps may change later")
    for name, kind in GIVEN.items():
        sizes.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"default {getattr(Settings, name)}")
    return parser.parse_args(arguments)


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {name: value for name in GIVEN if (value := getattr(options, name)) is not None}


def _judge(text: str) -> tuple[str, Path]:
    domain, _, directory = text.partition("=")
    return domain, Path(directory)


if __name__ == "__main__":
    raise SystemExit(main())
