"""`zodi transfer`: repaint a labelled data set into other domains."""

import sys
from pathlib import Path
from typing import Any

import click

from zodi.cli.options import Shard, dataset_options, json_option, model_options, need, tell_before_run, write_json


@click.group("transfer", invoke_without_command=True)
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
@model_options
@click.option(
    "--engine",
    default="torch",
    show_default=True,
    type=click.Choice(["auto", "torch", "ort", "openvino", "trt"]),
    help="What the model runs on; auto: the fastest exact one.",
)
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(["fp32", "bf16", "fp16"]))
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The model's files for ort, openvino and trt, from `zodi export-engines`. [default: in the user's cache]",
)
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
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Threads that read and that write; with --ray, engines. [default: 2; with --ray one per GPU, else per node]",
)
@click.option("--ray", metavar="local|HOST:PORT", help="Transfer on Ray: on this machine, or on a cluster by its head.")
@click.option("--max-failures", default=100, show_default=True, type=click.IntRange(0), help="Stop above this many.")
@click.option("--restart", is_flag=True, help="Make every image again, also with other settings than before.")
@click.option(
    "--preview", type=click.Path(path_type=Path), metavar="SHEET.png", help="Write a sheet of the first images."
)
@click.option("--dry-run", is_flag=True, help="Transfer one batch, keep nothing, and print what the run would need.")
@click.option(
    "--output-size",
    default="working",
    show_default=True,
    type=click.Choice(["working", "source"]),
    help="Save results at the working size, or resized to their source's.",
)
@click.option("--shard", type=Shard(), metavar="i/n", help="Only share i (0..n-1) of n, by key; all shares use one -o.")
@click.option(
    "--judge",
    type=click.Path(path_type=Path),
    metavar="CKPT",
    help="Segmenter of the source domain, checkpoint or exported file; scores each result's layout against the label.",
)
@click.option("--min-layout", type=float, metavar="0..1", help="Draw results of lower layout agreement again.")
@click.option("--tries", default=1, show_default=True, type=int, help="Draw at most so often, then quarantine.")
@click.option(
    "--mask-disagreement", is_flag=True, help="Write masks of pixels where a confident judge denies the label."
)
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Append one JSON object per event there.")
@json_option
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:  # fmt: skip
    """Repaint labelled images into another domain, keeping their layout, so that their labels stay valid.

    Results go to OUT/<domain>/<key>.png; run.json and manifest.jsonl beside them say how each was made. A broken run
    goes on where it stopped when the same command is given again.
    """
    if context.invoked_subcommand is not None:
        return
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
        label_suffix=options["label_suffix"],
        trust_labels=options["trust_labels"],
    )
    tell_before_run(dataset)
    settings = TransferSettings(**{name: options[name] for name in TransferSettings.__dataclass_fields__})
    chosen: dict[str, Any] = {
        "model": api.ModelChoice(_named_model(options), options["controlnet"], options["variant"], options["revision"]),
        "engine": api.EngineChoice(options["engine"], options["precision"], options["device"], options["bundle"]),
        "settings": settings,
        "limit": options["limit"],
        "notify": lambda message: click.echo(message, err=True),
    }
    if options["dry_run"]:
        if options["ray"] is not None:
            raise click.UsageError("--dry-run measures the engine of this machine: leave out --ray")
        api.check_output(options["output"], dataset)
        limits = {name: options[name] for name in ("shard", "judge", "max_failures")}
        estimate = api.estimate_transfer(dataset, domains, **limits, **chosen)
        _print_estimate(estimate, options["json_file"])
        return
    _run(dataset, domains, chosen, options)


def _named_model(options: dict[str, Any]) -> str | None:
    """The model; None where only a bundle was given, which holds its own."""
    source = click.get_current_context().get_parameter_source("model")
    if options["bundle"] is not None and source is not None and source.name == "DEFAULT":
        return None
    return str(options["model"])


def _run(dataset: Any, domains: list[Any], chosen: dict[str, Any], options: dict[str, Any]) -> None:
    from zodi import api
    from zodi.cli.progress import progress

    names = ", ".join(domain.name for domain in domains)
    passed_on = ("shard", "judge", "restart", "max_failures", "ray", "workers", "preview", "log")
    with progress(f"transfer to {names}") as update:
        result = api.run_transfer(
            dataset,
            options["output"],
            domains,
            **chosen,
            **{name: options[name] for name in passed_on},
            on_progress=lambda p: update(p.finished, p.total, _note(p)),
        )
    counts = result.progress
    for failure in counts.failures[:10]:
        click.echo(f"failed: {failure}", err=True)
    if len(counts.failures) > 10:
        click.echo(f"... and {len(counts.failures) - 10} more: zodi transfer status {result.output}", err=True)
    quarantined = f", {counts.quarantined} quarantined" if counts.quarantined else ""
    click.echo(
        f"{counts.done} transferred, {counts.skipped} were done already, {counts.failed} failed{quarantined} "
        f"in {result.seconds:.1f} s: {result.output}",
        err=options["json_file"] == "-",
    )
    numbers = {name: getattr(counts, name) for name in ("total", "done", "skipped", "failed", "quarantined")}
    content = {"output": str(result.output), "domains": [domain.name for domain in domains], **numbers}
    write_json(options["json_file"], {**content, "seconds": round(result.seconds, 3)})
    if result.interrupted is not None:
        again = ", without --restart" if options["restart"] else ""
        click.echo(f"interrupted; give the same command again{again} to go on", err=True)
        sys.exit(result.interrupted)
    if counts.failed:
        sys.exit(1)


def _note(progress: Any) -> str:
    """Speed and what went wrong, for the progress line."""
    parts = [f"{progress.rate:.2f} images/s"] if progress.rate else []
    parts += [f"{getattr(progress, name)} {name}" for name in ("failed", "quarantined") if getattr(progress, name)]
    return ", ".join(parts)


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


@command.command("status")
@click.argument("output", type=click.Path(path_type=Path), metavar="DIR")
@json_option
def status(output: Path, json_file: str | None) -> None:
    """Show what is done, failed, quarantined and missing in the output DIR of a run, with its speed and scores."""
    from zodi.transfer.status import transfer_status

    report = transfer_status(output)
    write_json(json_file, report)
    if json_file == "-":
        return
    for name, counts in report["domains"].items():
        shown = ", ".join(f"{counts[key]} {key}" for key in ("done", "failed", "quarantined", "missing", "stale"))
        speed = f"; {counts['images_per_s']} images/s" if counts["images_per_s"] else ""
        click.echo(f"{name}: {shown} of {counts['images']}{speed}")
        scores = dict(counts["scores"])
        classes = scores.pop("classes", {})
        if scores:
            click.echo("  scores: " + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()))
        if classes:
            click.echo("  class IoU, %: " + ", ".join(f"{key} {100 * value:.1f}" for key, value in classes.items()))
        for failure in counts["failures"]:
            click.echo(f"  failed: {failure}")
        if counts["done"] and not counts["folder"]:
            click.echo(f"  {output / name}: is missing: put the folder back, or resume the run")


@command.command("verify")
@click.argument("output", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read.")
@json_option
def verify(output: Path, workers: int, json_file: str | None) -> None:
    """Compare every file in the output DIR of a run with the manifest: there, unchanged, decodable, none unknown.

    The exit status is 1 if there are problems.
    """
    from zodi.cli.progress import progress
    from zodi.transfer.status import verify_transfer

    with progress("verify") as update:
        found = verify_transfer(output, workers=workers, on_progress=lambda done, total: update(done, total, ""))
    write_json(json_file, {"output": str(output), "files": found.files, "problems": found.problems})
    if json_file != "-":
        for problem in found.problems:
            click.echo(problem)
        click.echo(f"{found.files} results compared, {len(found.problems)} problems")
    if found.problems:
        sys.exit(1)
