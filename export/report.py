"""The report beside an exported segmenter, for programs and for people."""

from pathlib import Path
from typing import Any

from zodi import strict_json
from zodi.files import write_atomic

FIGURES = (  # key, what a reader calls it, format
    ("images", "images", "{}"),
    ("pixel_agreement", "pixels with PyTorch's class", "{:.4%}"),
    ("logits_error", "error of the logits, of their spread", "{:.1e}"),
    ("logits_floor", "of it explained by rounding", "{:.1e}"),
    ("logits_largest_error", "largest error of a logit", "{:.2g}"),
    ("miou_torch", "mIoU in PyTorch", "{:.2%}"),
    ("miou_file", "mIoU of the file", "{:.2%}"),
    ("drop_points", "lost, in per cent points", "{:.2f}"),
)


def write_report(directory: Path, stem: str, report: dict[str, Any]) -> None:
    """Write `stem.json` and `stem.md`."""
    write_atomic(directory / f"{stem}.json", (strict_json.dumps(report) + "\n").encode())
    write_atomic(directory / f"{stem}.md", markdown(report).encode())


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    about, made = report["metadata"], report["metadata"]["made"]
    needs = []
    if "ir_version" in made:
        needs = [f"IR version {made['ir_version']}, needs ONNX Runtime {made['onnxruntime']} or later.", ""]
    size = "x".join(map(str, about["size"]))
    lines = [
        f"# {report['file']}: {about['architecture']} on {about['encoder']}, {about['precision']}",
        "",
        f"Takes uint8 RGB images (batch, {size.replace('x', ', ')}, 3), returns {about['output']}; "
        f"{len(about['classes'])} classes; may vary: {about['dynamic']}; images of other sizes: {about['fit']}.",
        f"Made by {made['exporter']}, opset {made['opset']}, zodi {made['zodi']}, from weights {made['weights'][:16]}.",
        "",
        *needs,
        f"Compared with PyTorch in fp32 on {report['samples']}; {report['max_drop_points']:g} points may be lost.",
        "",
        *_table(report),
        "",
    ]
    if report.get("not_run"):
        lines += [f"The file itself was not run here: {report['not_run']}", ""]
    if report["refusals"]:
        lines += [f"**Refused**: {'; '.join(report['refusals'])}.", ""]
    if "quantisation" in report:
        lines += _quantisation(report["quantisation"])
    return "\n".join(lines).rstrip() + "\n"


def _table(report: dict[str, Any]) -> list[str]:
    figures = report.get("figures")
    shown = {"as ONNX": report["graph"]}
    if figures is not None:  # an ONNX file's are those of its graph
        shown = {"the file": figures} if report["metadata"]["format"] == "onnx" else shown | {"the file": figures}
    rows = [f"| | {' | '.join(shown)} |", f"|---|{'---|' * len(shown)}"]
    for key, name, form in FIGURES:
        values = ["-" if figures[key] is None else form.format(figures[key]) for figures in shown.values()]
        rows.append(f"| {name} | {' | '.join(values)} |")
    return rows


def _quantisation(search: dict[str, Any]) -> list[str]:
    lines = [
        "## int8",
        "",
        f"Calibrated on {search['images']} images by {search['method']}. "
        f"{len(search['kept_in_fp32'])} of {search['layers']} layers are kept in fp32"
        + (f": {', '.join(search['kept_in_fp32'])}." if search["kept_in_fp32"] else "."),
        "",
        "| layers kept in fp32 | pixels with PyTorch's class | points lost |",
        "|---|---|---|",
    ]
    lines += [f"| {t['kept']} | {t['pixel_agreement']:.3%} | {t['drop_points']:.2f} |" for t in search["tried"]]
    if search["error_of_each_layer_alone"]:
        worst = list(search["error_of_each_layer_alone"].items())[:10]
        lines += [
            "",
            "The most harmful layers, each quantised alone (error of the logits, of their spread):",
        ]
        lines += ["", "| layer | error |", "|---|---|", *(f"| {name} | {error:.1e} |" for name, error in worst)]
    return lines
