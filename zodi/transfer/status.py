"""What has become of a run: counts and scores from its manifests, and every file against its row."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from zodi.ahead import map_ahead
from zodi.errors import OutputError
from zodi.files import cannot_read
from zodi.transfer.items import result_path
from zodi.transfer.manifest import Row, file_sha256, read_rows
from zodi.transfer.quality import summarise
from zodi.transfer.settings import RUN_FILE, read_run


def transfer_status(output: Path) -> dict[str, Any]:
    """A JSON object: `output`, and for each domain counts, rate and mean scores.

    images              of the data set, before sharding
    done, failed, quarantined, missing  results; they add up to images unless the data set has changed
    stale               rows made with other settings than run.json has; they count as missing
    images_per_s        from the engine's time per image, None before the first
    scores              means, see `zodi.transfer.quality.summarise`
    failures            the first ten errors
    folder              whether the folder of the results is there; "zodi transfer verify" looks at every file

    Raises OutputError where there is no run.
    """
    run, rows = _read(output)
    domains = {}
    for name, entry in run["domains"].items():
        all_rows = [row for row in rows.values() if row.domain == name]
        found = [row for row in all_rows if row.settings == entry["hash"]]
        count = {status: sum(row.status == status for row in found) for status in ("ok", "failed", "quarantined")}
        seconds = [row.seconds for row in found if row.seconds]
        domains[name] = {
            "images": entry["images"],
            "done": count["ok"],
            "failed": count["failed"],
            "quarantined": count["quarantined"],
            "missing": max(entry["images"] - len(found), 0),
            "stale": len(all_rows) - len(found),
            "images_per_s": round(len(seconds) / sum(seconds), 3) if seconds else None,
            "scores": summarise([row.scores for row in found if row.scores]),
            "failures": [f"{row.key}: {row.error}" for row in found if row.status == "failed"][:10],
            "folder": (output / name).is_dir(),
        }
    return {"output": str(output), "domains": domains}


@dataclass(frozen=True)
class Verification:
    """How many results were compared with their rows, and what is wrong, one line each."""

    files: int
    problems: list[str]


def verify_transfer(
    output: Path, *, workers: int = 2, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Verification:
    """Compare every result with its row: it is there, its checksum is right, it decodes; and find files without a row.

    Raises OutputError where there is no run.
    """
    run, rows = _read(output)
    written = [row for row in rows.values() if row.status != "failed"]
    inside = Counter(_folder(output, row.domain, row.status == "quarantined") for row in written)
    gone = {folder for folder in inside if not folder.is_dir()}
    problems = [_gone(folder, inside[folder]) for folder in gone]
    if not rows:
        problems.append(f"{output}: holds no row of any result: give the command of the run again")
    there = [row for row in written if _folder(output, row.domain, row.status == "quarantined") not in gone]
    for done, problem in enumerate(map_ahead(lambda row: _check(output, row), there, workers, 64), start=1):
        problems += [problem] if problem else []
        on_progress(done, len(there))
    expected = {_path(output, row) for row in written}
    own = {_folder(output, domain, quarantined) for domain in run["domains"] for quarantined in (False, True)}
    for path in chain(output.glob("*.tmp"), *(folder.rglob("*") for folder in sorted(own | set(inside)))):
        if path.suffix == ".tmp":
            problems.append(f"{path}: is left over from a run that was killed: resume the run, or delete it")
        elif path.suffix == ".png" and path not in expected:
            problems.append(f"{path}: has no row in the manifest: resume the run if it was interrupted, or delete it")
    return Verification(len(written), sorted(problems))


def _gone(folder: Path, results: int) -> str:
    if folder.exists():
        return f"{folder}: is a file, the folder with {results} results is missing: delete the file and resume the run"
    return f"{folder}: is missing, and {results} results with it: put the folder back, or resume the run"


def _check(output: Path, row: Row) -> str | None:
    path = _path(output, row)
    if not path.is_file():
        return f"{path}: is missing: resume the run"
    try:
        found = file_sha256(path)
    except OSError as error:
        return str(cannot_read(path, error))
    if found != row.sha256:
        return f"{path}: is not as it was written (its checksum differs): resume the run"
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError) as error:
        return f"{path}: cannot be decoded ({error}): resume the run with --restart"
    return None


def _folder(output: Path, domain: str, quarantined: bool) -> Path:
    return result_path(output, domain, "any", quarantined=quarantined).parent


def _path(output: Path, row: Row) -> Path:
    return result_path(output, row.domain, row.key, quarantined=row.status == "quarantined")


def _read(output: Path) -> tuple[dict[str, Any], dict[tuple[str, str], Row]]:
    if not (output / RUN_FILE).is_file():
        raise OutputError(f"{output}: holds no {RUN_FILE}: give the output folder of a transfer")
    run = read_run(output)
    return run, read_rows(output, {name: entry["hash"] for name, entry in run["domains"].items()})
