"""`zodi report`: find out what runs are, draw their sections, write one page."""

from collections.abc import Callable, Sequence
from pathlib import Path

from zodi import __version__
from zodi.errors import OutputError
from zodi.files import utf8, write_atomic
from zodi.report.blocks import Section
from zodi.report.training import bench_section, evaluation_section, file_section, training_section
from zodi.report.transfer import transfer_section

IMAGES = 60

# what a folder holds -> how it is drawn; the first that is there counts
KINDS: dict[str, Callable[[Path], Section]] = {
    "train.json": training_section,
    "evaluation.json": evaluation_section,
    "report.json": file_section,
}


def report(runs: Sequence[Path], output: Path, *, title: str = "zodi report", images: int = IMAGES) -> None:
    """Write one HTML page about outputs of `zodi transfer`, `adapt`, `evaluate -o`, `export-segmenter` and bench JSON.

    images  shown of each transfer; a page of 60 images of Cityscapes' size takes some 10 MB, however many there are

    Raises OutputError for a run that is none of these.
    """
    write_page(output, title, [section(run, images=images) for run in runs])


def section(run: Path, *, images: int = IMAGES) -> Section:
    """The section of one run. Raises OutputError where it is nothing that zodi wrote."""
    if run.is_file() and run.suffix == ".json":
        return bench_section(run)
    if (run / "run.json").is_file():
        return transfer_section(run, images=images)
    for name, draw in KINDS.items():
        if (run / name).is_file():
            return draw(run)
    raise OutputError(
        f"{run}: is no run: give the output folder of zodi transfer, adapt, evaluate -o or export-segmenter, "
        "or the JSON file of zodi bench"
    )


def write_page(output: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the page; everything is inside the file. Raises OutputError where it cannot be written."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("zodi.report", "."), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("page.html").render(title=title, sections=sections, version=__version__)
    write_atomic(output, utf8(page))
