"""Measure an exported model through zodi's own pipeline: round trip, contact sheets, seconds per image, judges."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from town_model.autoencoder import ENCODE_BATCH
from town_model.classifier import domain_shares
from town_model.data import held_out, to_planes
from town_model.judges import judge_domain
from zodi.api import EngineChoice, ModelChoice, estimate_transfer, run_transfer
from zodi.data import open_dataset
from zodi.domains import PRESETS
from zodi.files import write_atomic
from zodi.labels import CITYSCAPES_19
from zodi.town import DOMAINS
from zodi.transfer.images import decoded_image
from zodi.transfer.preview import sheet
from zodi.transfer.results import encode_png
from zodi.transfer.settings import TransferSettings

SHEET_ROWS = 8
SEED_SCENES = 16  # that are transferred a second time, with another seed
Images = NDArray[np.uint8]


def evaluate(
    out: Path, model: Path, *, scenes: int, targets: Sequence[str], judges: Mapping[str, Path], device: str
) -> dict[str, Any]:
    """Evaluate on held-out scenes; figures to OUT/evaluation/figures.json, sheets beside it.

    targets  presets to transfer the clear scenes to
    judges   by domain, a segmenter checkpoint directory trained on rendered scenes of that domain
    """
    folder = out / "evaluation"
    shutil.rmtree(folder, ignore_errors=True)
    rendered = {domain: [held_out(i, domain)[0] for i in range(scenes)] for domain in DOMAINS}
    labels = [held_out(i, "clear")[1] for i in range(scenes)]
    write_clear(folder / "clear", rendered["clear"], labels)

    round_trips = {domain: round_trip(model, images, device) for domain, images in rendered.items()}
    measured: dict[str, dict[str, Any]] = {d: {"psnr_db": psnr(rendered[d], round_trips[d])} for d in DOMAINS}
    rows = []
    for i in range(min(scenes, SHEET_ROWS)):
        rows.append([image for domain in DOMAINS for image in (rendered[domain][i], round_trips[domain][i])])
    save_sheet(folder / "round_trip.png", rows, [title for d in DOMAINS for title in (d, "decoded")])

    results: dict[str, list[Images]] = {}
    seeds: dict[str, list[Images]] = {}
    for domain in targets:
        results[domain], seconds = transfer(folder, model, domain, device)
        measured[domain]["seconds_per_image"] = seconds
        again = draw(folder, "results-seed-1", model, domain, device, seed=1, limit=SEED_SCENES)
        pairs = zip(results[domain], again, strict=False)
        measured[domain]["two_seeds_distance"] = float(
            np.mean([np.abs(a - b.astype(float)).mean() / 255 for a, b in pairs])
        )
        seeds[domain] = again
        print(f"evaluate: {domain} {seconds:.2f} s per image", flush=True)
    colours = CITYSCAPES_19.control_colours()[CITYSCAPES_19.train_id_to_id]
    rows = []
    for i in range(min(scenes, SHEET_ROWS)):
        pairs = [image for domain in targets for image in (results[domain][i], rendered[domain][i])]
        rows.append([rendered["clear"][i], colours[labels[i]], *pairs])
    titles = ["source", "control", *(title for domain in targets for title in (domain, f"rendered {domain}"))]
    save_sheet(folder / "transfer.png", rows, titles)

    rows = [
        [rendered["clear"][i], *(image for domain in targets for image in (results[domain][i], seeds[domain][i]))]
        for i in range(min(scenes, SHEET_ROWS))
    ]
    save_sheet(folder / "seeds.png", rows, ["source", *(f"{domain}, seed {n}" for domain in targets for n in (0, 1))])

    for domain, share in domain_shares(out, rendered, results).items():
        measured[domain].update(share)
    for domain, directory in judges.items():
        measured[domain]["judge"] = judge_domain(
            directory, labels, rendered[domain], round_trips[domain], results.get(domain)
        )
    figures = {"scenes": scenes, "domains": measured}
    write_atomic(folder / "figures.json", (json.dumps(figures, indent=2) + "\n").encode())
    print(json.dumps(figures, indent=2), flush=True)
    return figures


def write_clear(root: Path, images: list[Images], labels: list[Images]) -> None:
    """The clear scenes as a data set on disk, as a user would have them."""
    for kind, pictures in (("images", images), ("labels", [CITYSCAPES_19.train_id_to_id[label] for label in labels])):
        (root / kind).mkdir(parents=True)
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(root / kind / f"{i:04d}.png")
    (root / "dataset.json").write_text('{"dataset": "folder", "label_set": "cityscapes", "labels": "ids"}')


def transfer(folder: Path, model: Path, domain: str, device: str) -> tuple[list[Images], float]:
    """The clear scenes in another domain, with the preset's settings; seconds per image of a warm batch in PyTorch."""
    images = draw(folder, "results", model, domain, device)
    estimate = estimate_transfer(
        open_dataset("folder", folder / "clear"), [PRESETS[domain]],
        model=ModelChoice(str(model)), engine=EngineChoice(device=device), settings=TransferSettings(),
    )  # fmt: skip
    return images, estimate.seconds / estimate.results


def draw(
    folder: Path, name: str, model: Path, domain: str, device: str, *, seed: int = 0, limit: int | None = None
) -> list[Images]:
    """The clear scenes, or the first of them, in another domain, with the preset's settings; kept below `name`."""
    result = run_transfer(
        open_dataset("folder", folder / "clear"), folder / name, [PRESETS[domain]], limit=limit,
        model=ModelChoice(str(model)), engine=EngineChoice("auto", device=device),
        settings=TransferSettings(seed=seed),
    )  # fmt: skip
    return [np.asarray(Image.open(file)) for file in sorted((result.output / domain).rglob("*.png"))]


@torch.inference_mode()
def round_trip(model: Path, images: list[Images], device: str) -> list[Images]:
    """Images encoded and decoded by the exported autoencoder."""
    vae = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32).to(device)
    decoded: list[Images] = []
    for start in range(0, len(images), ENCODE_BATCH):
        planes = to_planes(np.stack(images[start : start + ENCODE_BATCH]), torch.device(device))
        result = vae.decode(vae.encode(planes).latent_dist.mean).sample.float().cpu().numpy()
        decoded += [decoded_image(image) for image in result]
    return decoded


def psnr(first: list[Images], second: list[Images]) -> float:
    """Mean over images, in dB."""
    errors = [np.square(a.astype(np.float32) - b).mean() / 255**2 for a, b in zip(first, second, strict=True)]
    return float(np.mean([-10 * np.log10(max(error, 1e-10)) for error in errors]))


def save_sheet(path: Path, rows: list[list[Images]], titles: list[str]) -> None:
    """A contact sheet as PNG."""
    write_atomic(path, encode_png(sheet(rows, titles)))
