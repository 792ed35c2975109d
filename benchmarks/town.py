"""Does adaptation help? Clear scenes of the street world to a domain that the segmenter never saw, with baselines.

    python benchmarks/town.py --out DIR [--domain night=3 --domain fog=1] [--model town|DIR]

For each domain and seed the same net is trained from scratch with the same steps and images per step, five times:

    source-only    clear scenes alone
    augment        clear scenes, one view of each changed by classical transforms
    adapted        pairs of clear scenes and what the diffusion model made of them
    no-similarity  the same without the similarity of features
    oracle         rendered scenes of the target domain itself: what labels from there would bring

All are scored on rendered target scenes, and on clear ones, that no training saw; the last weights count, nothing is
chosen. The first two are trained once for all domains. Transfers and trainings that are done are skipped, so that a
broken run goes on. Writes DIR/town.json and prints a table.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from zodi.api import AdaptSettings, EngineChoice, ModelChoice, estimate_target, evaluate, run_adapt, run_transfer
from zodi.data import Dataset, open_dataset
from zodi.domains import PRESETS
from zodi.segmenter.settings import TrainSettings, make_settings
from zodi.town.dataset import write_dataset

ROWS: dict[str, AdaptSettings] = {
    "source-only": AdaptSettings(baseline="source-only"),
    "augment": AdaptSettings(baseline="augment"),
    "adapted": AdaptSettings(),
    "no-similarity": AdaptSettings(similarity=0.0),
    "oracle": AdaptSettings(baseline="source-only"),
}
SOURCE_SEED, TARGET_SEED, HELD_OUT_SEED, TEST_SEED = 1, 2, 3, 4  # four sets of scenes, none in two


def main() -> None:
    options = parse()
    out: Path = options.out
    chosen = options.row or list(ROWS)
    baselines = [row for row in chosen if ROWS[row].baseline]
    paired = [row for row in chosen if not ROWS[row].baseline]
    domains = options.domain or [("night", 3), ("fog", 1)]
    source = scenes(out / "source", "clear", options.scenes, SOURCE_SEED)
    held_out = scenes(out / "held-out", "clear", options.test_scenes, HELD_OUT_SEED)
    tests = {domain: scenes(out / f"test-{domain}", domain, options.test_scenes, TEST_SEED) for domain, _ in domains}

    # first what needs no diffusion model
    for domain, seeds in domains:
        target = scenes(out / f"target-{domain}", domain, options.scenes, TARGET_SEED)
        for seed in range(seeds):
            for row in baselines:
                train(out, domain, row, target if row == "oracle" else source, options, seed)
    for domain, seeds in domains:
        if paired:
            transfer(source, out / "transferred", domain, options.model)
        for seed in range(seeds):
            for row in paired:
                train(out, domain, row, source, options, seed)

    results = []
    for domain, seeds in domains:
        if set(chosen) != {"oracle"}:
            transfer(held_out, out / "transferred-held-out", domain, options.model)
        for seed in range(seeds):
            for row in chosen:
                checkpoint = net_directory(out, domain, row, seed)
                scored, clear = evaluate(checkpoint, [tests[domain], held_out])["results"]
                result = {
                    "domain": domain, "row": row, "seed": seed,
                    "miou": scored["miou"], "miou_clear": clear["miou"], "iou": scored["iou"],
                }  # fmt: skip
                if row != "oracle":
                    (guess,) = estimate_target(checkpoint, held_out, [out / "transferred-held-out" / domain])
                    result["estimate"] = {key: guess[key] for key in ("miou", "low", "high")}
                results.append(result)
                print(f"{domain} {row} {seed}: mIoU {100 * scored['miou']:.1f}", flush=True)
    content = {"settings": vars(options), "rows": results}
    (out / "town.json").write_text(json.dumps(content, indent=2, default=str))
    print_tables(results)


def transfer(dataset: Dataset, output: Path, domain: str, model: str) -> None:
    """Images in another domain with the preset's settings; what is there stays."""
    run_transfer(
        dataset, output, [PRESETS[domain]], model=ModelChoice(model), engine=EngineChoice("auto"),
        on_progress=lambda p: print(f"\r{p.done + p.skipped} of {p.total} transferred", end="", flush=True),
    )  # fmt: skip
    print(flush=True)


def train(out: Path, domain: str, row: str, dataset: Dataset, options: argparse.Namespace, seed: int) -> None:
    """Train one net, or go on where it was broken off; done already where it is on disk."""
    directory = net_directory(out, domain, row, seed)
    adapting = ROWS[row]
    if (directory / "model.json").is_file():
        return
    result = run_adapt(
        dataset, directory, net_settings(options, seed), adapting=adapting, save_every=100,
        synthetic=[] if adapting.baseline else [out / "transferred" / domain],
        on_progress=lambda done, total, note: print(f"\r{directory.name}: {done}/{total}, {note}", end="", flush=True),
    )  # fmt: skip
    print(f"\n{directory.name}: {result.seconds:.0f} s", flush=True)


def net_directory(out: Path, domain: str, row: str, seed: int) -> Path:
    """Of one training; what saw nothing of the domain is shared by all domains."""
    return out / "nets" / (f"{row}-{seed}" if row in ("source-only", "augment") else f"{domain}-{row}-{seed}")


def net_settings(options: argparse.Namespace, seed: int) -> TrainSettings:
    """A small DeepLabv3+ from scratch, at the street world's own size."""
    return make_settings(
        architecture="deeplabv3plus", encoder=options.encoder, encoder_weights="none",
        options={"decoder_channels": 128}, size=(128, 256), crop=(96, 192),
        iterations=options.iterations, batch=options.batch, lr=2e-3, precision=options.precision, seed=seed,
    )  # fmt: skip


def scenes(directory: Path, domain: str, count: int, seed: int) -> Dataset:
    """Rendered scenes of a domain."""
    write_dataset(directory, domain=domain, scenes=count, seed=seed)
    return open_dataset("folder", directory)


def print_tables(results: list[dict[str, Any]]) -> None:
    """Per domain: mean and spread of mIoU over seeds, how much of the gaps is closed, estimates, and classes."""
    for domain in dict.fromkeys(result["domain"] for result in results):
        rows: dict[str, list[dict[str, Any]]] = {}
        for result in results:
            if result["domain"] == domain:
                rows.setdefault(result["row"], []).append(result)
        mean = {row: statistics.mean(100 * r["miou"] for r in found) for row, found in rows.items()}
        print(f"\n{domain}\n| row | mIoU | by seed | estimate | on clear scenes |\n|---|---|---|---|---|")
        for row, found in rows.items():
            seeds = ", ".join(f"{100 * r['miou']:.1f}" for r in found)
            guesses = [100 * r["estimate"]["miou"] for r in found if "estimate" in r]
            guess = f"{statistics.mean(guesses):.1f}" if guesses else "-"
            clear = statistics.mean(100 * r["miou_clear"] for r in found)
            print(f"| {row} | {mean[row]:.1f} | {seeds} | {guess} | {clear:.1f} |")
        for baseline in ("source-only", "augment"):
            if {"adapted", "oracle", baseline} <= mean.keys():
                gap = mean["oracle"] - mean[baseline]
                print(f"adapted closes {100 * (mean['adapted'] - mean[baseline]) / gap:.0f} % of {baseline} to oracle")
        print(f"\n| class | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}")
        for name in next(iter(rows.values()))[0]["iou"]:
            cells = [[100 * r["iou"][name] for r in found if r["iou"][name] is not None] for found in rows.values()]
            print(f"| {name} | {' | '.join(f'{statistics.mean(c):.1f}' if c else '-' for c in cells)} |")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--domain", action="append", type=_domain, metavar="NAME=SEEDS", help="default night=3, fog=1")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="default all")
    parser.add_argument("--model", default="town", help="diffusion model (default the bundled one)")
    parser.add_argument("--scenes", type=int, default=500, help="of each training set (default 500)")
    parser.add_argument("--test-scenes", type=int, default=200, help="of each test set (default 200)")
    parser.add_argument("--iterations", type=int, default=1200, help="optimiser steps (default 1200)")
    parser.add_argument("--batch", type=int, default=4, help="pairs per step (default 4)")
    parser.add_argument("--encoder", default="tu-resnet10t")
    parser.add_argument("--precision", default="fp32", help="bf16 is twice as fast where the CPU has it (default fp32)")
    return parser.parse_args()


def _domain(text: str) -> tuple[str, int]:
    name, _, seeds = text.partition("=")
    if name not in PRESETS or not seeds.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=SEEDS, e.g. night=3; names are {', '.join(PRESETS)}")
    return name, int(seeds)


if __name__ == "__main__":
    main()
