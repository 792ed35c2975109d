"""`zodi report`: runs as one HTML page."""

from pathlib import Path

import click


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE.html",
    help="The page; everything is inside this one file.",
)
@click.option("--title", default="zodi report", show_default=True, metavar="TEXT", help="Heading of the page.")
@click.option(
    "--images",
    default=60,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Images shown of each transfer: half the worst, half at random.",
)
def command(runs: tuple[Path, ...], output: Path, title: str, images: int) -> None:
    """Show each RUN on one page: outputs of transfer, adapt, evaluate -o, export-segmenter, and JSON files of bench."""
    from zodi.api import report

    report(runs, output, title=title, images=images)
    click.echo(f"{output}, {output.stat().st_size / 2**20:.1f} MiB")
