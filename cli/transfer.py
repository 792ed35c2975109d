"""`zodi transfer`: repaint a labelled data set into other domains."""

import sys
from pathlib import Path
from typing import Any

import click

from zodi.cli.options import dataset_options, json_option, need, write_json

MODEL = "town"


@click.command("transfer")
@dataset_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("transferred"),
    show_default=True,
    metavar="DIR",
    help="Where results go: DIR/<domain>/<key>.png.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="night, snow, rain, fog, game, or your own; may be repeated. [default: night]",
)
@click.option(
    "--model",
    default=MODEL,
    show_default=True,
    metavar="town|HUB|DIR",
    help="Diffusion model: the bundled one, a hub id, or a directory in diffusers format.",
)
@click.option("--controlnet", metavar="HUB|DIR", help="ControlNet for segmentation maps. [default: inside the model]")
@click.option("--variant", metavar="NAME", help="Variant of the model's weight files, e.g. non_ema.")
@click.option("--revision", metavar="REV", help="Branch, tag or commit of the model's hub repository.")
@click.option(
    "--engine", default="torch", show_default=True, type=click.Choice(["torch"]), help="What the model runs on."
)
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(["fp32", "bf16", "fp16"]))
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1), help="Images per batch.")
@click.option("--image-size", type=click.IntRange(1), metavar="PIXELS", help="Short side. [default: the model's]")
@click.option("--strength", type=float, help="Share of the noise schedule, 0..1. [default: the domain's]")
@click.option("--guidance", type=float, help="Classifier-free guidance scale. [default: the model's, else 9]")
@click.option("--steps", default=20, show_default=True, type=int, help="DDIM steps over the whole schedule.")
@click.option("--eta", default=1.0, show_default=True, type=float, help="0 deterministic .. 1 ancestral.")
@click.option(
    "--timesteps",
    default="reference",
    show_default=True,
    type=click.Choice(["reference", "aligned"]),
    help="Invert to int(1000 s) as the original, or to the first decoded step.",
)
@click.option("--control-scale", default=1.0, show_default=True, type=float, help="Weight of the ControlNet.")
@click.option(
    "--palette",
    default="cityscapes",
    show_default=True,
    type=click.Choice(["cityscapes", "coco", "ade20k"]),
    help="Colours of the control map.",
)
@click.option(
    "--control-resize",
    default="nearest",
    show_default=True,
    type=click.Choice(["nearest", "area"]),
    help="How the control map is resized; the original uses area.",
)
@click.option(
    "--pixels",
    default="reference",
    show_default=True,
    type=click.Choice(["reference", "rounded"]),
    help="Truncate decoded values as the original, or round them.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Of the run; every image's own follows from it.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N images.")
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read and that write."
)
@click.option("--max-failures", default=100, show_default=True, type=click.IntRange(0), help="Stop above this many.")
@click.option("--restart", is_flag=True, help="Make every image again, also with other settings than before.")
@click.option(
    "--preview", type=click.Path(path_type=Path), metavar="SHEET.png", help="Write a sheet of the first images."
)
@click.option("--dry-run", is_flag=True, help="Transfer one batch, keep nothing, and print what the run would need.")
@json_option
def command(**options: Any) -> None:  # fmt: skip
    """Repaint labelled images into another domain, keeping their layout, so that their labels stay valid.

    Results go to OUT/<domain>/<key>.png; run.json and manifest.jsonl beside them say how each was made. A broken run
    goes on where it stopped when the same command is given again.
    """
    root = need(options["root"], "--root")

    from zodi import api
    from zodi.data import open_dataset
    from zodi.domains import find_domain
    from zodi.transfer.settings import TransferSettings

    domains = [find_domain(name) for name in options["domains"] or ("night",)]
    dataset = open_dataset(
        options["dataset"],
        root,
        split=options["split"],
        condition=options["condition"],
        labels=options["labels"],
        label_set=options["label_set"],
    )
    settings = TransferSettings(**{name: options[name] for name in TransferSettings.__dataclass_fields__})
    chosen: dict[str, Any] = {
        "model": api.ModelChoice(options["model"], options["controlnet"], options["variant"], options["revision"]),
        "engine": api.EngineChoice(options["engine"], options["precision"], options["device"]),
        "settings": settings,
        "limit": options["limit"],
    }
    if options["dry_run"]:
        api.check_output(options["output"], dataset)
        _print_estimate(api.estimate_transfer(dataset, domains, **chosen), options["json_file"])
        return
    _run(dataset, domains, chosen, options)


def _run(dataset: Any, domains: list[Any], chosen: dict[str, Any], options: dict[str, Any]) -> None:
    from zodi import api
    from zodi.cli.progress import progress

    names = ", ".join(domain.name for domain in domains)
    with progress(f"transfer to {names}") as update:
        result = api.run_transfer(
            dataset,
            options["output"],
            domains,
            **chosen,
            restart=options["restart"],
            max_failures=options["max_failures"],
            workers=options["workers"],
            preview=options["preview"],
            on_progress=lambda p: update(
                p.done + p.skipped + p.failed, p.total, f"{p.failed} failed" if p.failed else ""
            ),
        )
    counts = result.progress
    for failure in counts.failures[:10]:
        click.echo(f"failed: {failure}", err=True)
    if len(counts.failures) > 10:
        click.echo(f"... and {len(counts.failures) - 10} more, see {result.output / 'manifest.jsonl'}", err=True)
    click.echo(
        f"{counts.done} transferred, {counts.skipped} were done already, {counts.failed} failed "
        f"in {result.seconds:.1f} s: {result.output}",
        err=options["json_file"] == "-",
    )
    write_json(
        options["json_file"],
        {
            "output": str(result.output),
            "domains": [domain.name for domain in domains],
            "total": counts.total,
            "done": counts.done,
            "skipped": counts.skipped,
            "failed": counts.failed,
            "seconds": round(result.seconds, 3),
        },
    )
    if result.interrupted is not None:
        click.echo("interrupted; give the same command again to go on", err=True)
        sys.exit(result.interrupted)
    if counts.failed:
        sys.exit(1)


def _print_estimate(estimate: Any, json_file: str | None) -> None:
    height, width = estimate.size
    click.echo(
        f"{estimate.images} images, {estimate.results} results at {height}x{width}; "
        f"{estimate.bytes / 2**20:.1f} MiB of disk; {estimate.seconds / 3600:.2f} hours "
        f"({estimate.seconds / max(estimate.results, 1):.2f} s per result, measured on one batch)",
        err=json_file == "-",
    )
    write_json(
        json_file,
        {
            "images": estimate.images,
            "results": estimate.results,
            "height": height,
            "width": width,
            "disk_bytes": estimate.bytes,
            "hours": estimate.seconds / 3600,
        },
    )
