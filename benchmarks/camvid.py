"""Real images: CamVid by day to a dusk sequence, without and with transferred images.

    python benchmarks/camvid.py --data CAMVID --out DIR --encoder-weights FILE [--model DIR --domain dusk.toml]

CAMVID holds day_train, day_val and dusk_dev, each with images/ and labels/ (11 classes and void). Source-only and
augment are trained with the same steps and images per step; with a diffusion model, which must be one for photographs,
day_train is transferred and adapted as well. The last weights count; dusk_dev is only scored. Done steps are skipped.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from zodi.api import AdaptSettings, EngineChoice, ModelChoice, run_adapt, run_transfer
from zodi.data import open_dataset
from zodi.domains import find_domain
from zodi.segmenter.settings import make_settings

TARGETS = ("day_val", "dusk_dev")


def main() -> None:
    options = parse()
    source = open_dataset("camvid", options.data / "day_train")
    targets = [open_dataset("camvid", options.data / name) for name in TARGETS]
    rows: dict[str, AdaptSettings] = {
        "source-only": AdaptSettings(baseline="source-only"),
        "augment": AdaptSettings(baseline="augment"),
    }
    transferred = options.out / "transferred"
    if options.model:
        rows["adapted"] = AdaptSettings()
        run_transfer(
            source, transferred, [find_domain(options.domain)],
            model=ModelChoice(options.model, options.controlnet), engine=EngineChoice("auto"),
        )  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    for seed in range(options.seeds):
        settings = make_settings(
            architecture="fpn", encoder="tu-tf_efficientnet_lite0", encoder_weights=str(options.encoder_weights),
            size=(192, 256), crop=(192, 256), iterations=options.iterations, batch=8, seed=seed,
            precision=options.precision,
        )  # fmt: skip
        for row, adapting in rows.items():
            directory = options.out / "nets" / f"{row}-{seed}"
            score = directory / "score.json"
            if not score.is_file():
                result = run_adapt(
                    source, directory, settings, adapting=adapting, targets=targets, save_every=50,
                    synthetic=[transferred] if row == "adapted" else [],
                    on_progress=lambda done, total, note: print(f"\r{done}/{total}, {note}", end="", flush=True),
                )  # fmt: skip
                assert result.oracle is not None
                score.write_text(json.dumps(result.oracle["results"]))
            results = json.loads(score.read_text())
            found[row].append({name: scored["miou"] for name, scored in zip(TARGETS, results, strict=True)})
            print(f"\n{directory.name}: {found[row][-1]}", flush=True)
            (options.out / "camvid.json").write_text(json.dumps(found, indent=2))
    print(f"\n| row | {' | '.join(TARGETS)} |\n|---|{'---|' * len(TARGETS)}")
    for row, scores in found.items():
        cells = []
        for name in TARGETS:
            values = [100 * score[name] for score in scores]
            cells.append(f"{statistics.mean(values):.1f} ({', '.join(f'{v:.1f}' for v in values)})")
        print(f"| {row} | {' | '.join(cells)} |")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="CAMVID")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--encoder-weights", type=Path, required=True, metavar="FILE", help="of EfficientNet-Lite0")
    parser.add_argument("--model", help="diffusion model for photographs: a hub id or a directory")
    parser.add_argument("--controlnet", help="its ControlNet for segmentation maps")
    parser.add_argument("--domain", default="night", help="preset or FILE.toml (default night)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--precision", default="fp32", help="bf16 is twice as fast where the CPU has it (default fp32)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
