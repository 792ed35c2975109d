"""The page of `zodi demo`: what it shows, pictures, scores, and the commands that did it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zodi.data import Dataset, open_dataset, read_image
from zodi.report.blocks import Bar, Bars, Block, Commands, Facts, Gallery, Section, Shot, Table, per_cent
from zodi.report.page import write_page
from zodi.report.pictures import photo
from zodi.report.training import cell, flatten, read_json, scores_table, speed_bars
from zodi.report.transfer import transfer_section
from zodi.segmenter.pictures import GAP
from zodi.town import render
from zodi.transfer.preview import write_preview

SHOTS = 12  # results of the transfer
SCENES = 6  # target scenes with predictions
GALLERY_ROWS = 8


def demo_page(
    output: Path, page: Path, *, domain: str, seed: int, rows: Sequence[str], quick: bool, commands: Sequence[str]
) -> dict[str, Any]:
    """Write the page and `gallery.png` from what the commands of a demo left in `output`; what demo.json says of it.

    rows  names of the segmenters, the adapted one last: `output/NAME` and their scores in `output/scores/NAME`
    """
    scores = {name: read_json(output / "scores" / name / "evaluation.json")["results"][0] for name in rows}
    miou = {name: scores[name]["miou"] for name in rows}
    deployed = read_json(output / "deploy" / "report.json")
    sections = [
        _summary(domain, miou, quick),
        _named(transfer_section(output / "transferred", images=SHOTS), f"Clear scenes repainted as {domain}", (
            "Drag over a picture: source to the left, result to the right. The labels of the source stay valid, "
            "because the layout is kept; nothing was rendered in the target domain for it."
        )),
        _predictions(output, rows[0], rows[-1], domain),
        Section("IoU by class", f"On {scores[rows[-1]]['images']} rendered {domain} scenes, in per cent.", [
            scores_table([scores[name] for name in rows], names=list(rows)),
        ]),
        _engines(read_json(output / "bench.json")),
        Section("The adapted segmenter as a file", "Compared with PyTorch before it was accepted.", [
            Table(["", ""], flatten(deployed.get("figures") or deployed.get("graph") or {})), Facts(flatten(deployed)),
        ]),
        Section("The commands", "They can be given again as they stand.", [Commands(commands)]),
    ]  # fmt: skip
    write_gallery(output / "gallery.png", open_dataset(None, output / "clear"), output / "transferred", domain)
    write_page(page, f"zodi demo: from clear days to {domain}", sections)
    return {
        "domain": domain,
        "seed": seed,
        "miou": {name.replace("-", "_"): value for name, value in miou.items()},
        "segmenter": str(output / "deploy" / deployed["file"]),
        "report": str(page),
    }


def write_gallery(path: Path, source: Dataset, transferred: Path, domain: str) -> None:
    """A sheet of the first results: source, control map, result, and the scene as it is rendered in that domain."""

    def rendered(key: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return render(int(key.removeprefix("town-")), domain)[0]

    samples = source.samples[:GALLERY_ROWS]
    write_preview(path, source, samples, transferred, [domain], last=(f"rendered {domain}", rendered))


def _summary(domain: str, miou: dict[str, float], quick: bool) -> Section:
    most = max(miou.values()) or 1.0
    last = list(miou)[-1]
    bars = [Bar(name, value / most, f"{per_cent(value)} %", strong=name == last) for name, value in miou.items()]
    text = (
        "Three segmenters, trained with the same steps and images per step on labelled clear scenes, scored on "
        f"{domain} scenes that no training saw. source-only: clear scenes alone. augment: with classical augmentation. "
        "adapted: with what the diffusion model made of the clear scenes."
    )
    if quick:
        text += " This is the quick demo: so few images and steps show that everything runs, not what it is worth."
    return Section("Result", text, [Bars(bars, f"Mean IoU on rendered {domain}")])


def _named(section: Section, title: str, text: str) -> Section:
    return Section(title, text, section.blocks)


def _predictions(output: Path, before: str, after: str, domain: str) -> Section:
    """Overlays of two segmenters on the same scenes; `zodi evaluate -o` draws image, truth, prediction side by side."""
    shots = []
    for path in sorted((output / "scores" / after / "overlays").rglob("*.png"))[:SCENES]:
        other = output / "scores" / before / path.relative_to(output / "scores" / after)
        image, truth, predicted = _three(read_image(path))
        more = [("image", photo(image)), ("truth", photo(truth))]
        shots.append(
            Shot(path.stem, photo(predicted), photo(_three(read_image(other))[2]), f"{before} | {after}", more)
        )
    text = f"Left of the line {before}, right of it {after}, on rendered {domain}."
    blocks: list[Block] = [Gallery(shots)]
    return Section("What the segmenters see", text, blocks)


def _three(row: np.ndarray[Any, np.dtype[np.uint8]]) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    width = (row.shape[1] - 2 * GAP) // 3
    return [row[:, i * (width + GAP) :][:, :width] for i in range(3)]


def _engines(content: dict[str, Any]) -> Section:
    rows = content["rows"]
    keys = ("engine", "precision", "batch", "ms_per_denoiser_call", "ratio_to_diffusers", "psnr_db")
    table = Table([key.replace("_", " ") for key in keys], [[cell(row[key]) for key in keys] for row in rows])
    text = "Repainting with the engines that are installed here, beside diffusers' pipeline with the same weights."
    return Section("Speed of the engines", text, [speed_bars(rows), table])
