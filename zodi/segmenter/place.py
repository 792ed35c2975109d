"""Which folder a training writes to, so that nothing is lost: what is there stays until it can be replaced as a whole.

A training that begins again beside an earlier one, finished or not, works in OUTPUT/restarted-N. Its checkpoint and
logs take the earlier ones' place when the last of them is written; until then the earlier ones are as they were.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zodi.errors import OutputError, SettingsError
from zodi.files import write_atomic
from zodi.segmenter.checkpoint import DESCRIPTION, WEIGHTS
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.state import BEST, LOG, STATE, VALIDATION

SETTINGS = "train.json"
RESTARTED = "restarted-"
COMPARED = ("settings", "data")  # parts of train.json that a resumed run must share
LENGTH = {"epochs", "iterations"}
OF_FILES = {"files_sha256", "synthetic_sha256"}
# what else describes a checkpoint, and would vouch for another one
DESCRIBING = (STATE, LOG, VALIDATION, BEST, "config.toml", "curves.png", "confusion.png")
SHOWN = 5  # files that a message names


@dataclass(frozen=True)
class Place:
    """Where the files of a training are.

    output     the directory of the checkpoint
    directory  where this training writes: `output`, or a folder in it until it takes the place of what is there
    resumed    whether it began before
    """

    output: Path
    directory: Path
    resumed: bool

    @property
    def finished(self) -> bool:
        """Whether its checkpoint is whole."""
        return (self.directory / DESCRIPTION).is_file()

    def begin(self, described: Mapping[str, Any]) -> None:
        """Describe the training in train.json; of what is there nothing is removed but restarts that saved nothing.

        Raises OutputError where it cannot be written.
        """
        for other in _restarts(self.output):
            if (other / DESCRIPTION).is_file():  # it was stopped while it took the place of the one before
                Place(self.output, other, True).take_over()
        path = self.directory / SETTINGS
        if not self.resumed:
            if self.directory != self.output:
                _remove(self.directory)
            _write(path, described)
        else:
            there = json.loads(path.read_text(encoding="utf-8-sig"))
            if changed := changed_files(there, described):
                _write(path, {**described, "changed": [*there.get("changed", []), *changed]})

    def drop_others(self) -> None:
        """Remove other restarts, as this training has saved a state."""
        if self.directory != self.output:
            for other in _restarts(self.output):
                if other != self.directory:
                    _remove(other)

    def take_over(self) -> None:
        """Put the finished checkpoint, and all that describes it, in the place of what is in `output`.

        Stopped at any point it can be called again: the folder keeps all but the weights until everything is there.
        """
        if self.directory != self.output:
            self._replace()
            for restart in _restarts(self.output):
                _remove(restart)
        for left in self.output.glob(f"{RESTARTED}[0-9]*"):
            if not (left / SETTINGS).is_file():
                _remove(left)

    def _replace(self) -> None:
        new = {path.name for path in self.directory.iterdir() if not path.name.endswith(".tmp")}
        # a description left from before would vouch for the new weights
        (self.output / DESCRIPTION).unlink(missing_ok=True)
        for path in [*(self.output / name for name in DESCRIBING), *self.output.glob("confusion-oracle-*.png")]:
            if path.name not in new:
                path.unlink(missing_ok=True)
        if WEIGHTS in new:
            (self.directory / WEIGHTS).replace(self.output / WEIGHTS)
        for name in [*sorted(new - {WEIGHTS, DESCRIPTION}), DESCRIPTION]:
            write_atomic(self.output / name, (self.directory / name).read_bytes())


def find_place(
    output: Path, described: Mapping[str, Any], *, restart: bool = False, allow_changed_files: bool = False
) -> Place:
    """The place of a training: a new or empty directory, or where the same training is; nothing is written.

    described            {"settings": {...}, "data": {...}, "versions": {...}, "files": {...}}
    restart              begin again, beside what is there
    allow_changed_files  take a training of files that have changed since for the same

    Raises OutputError where the directory holds something else, naming the first field, or the files, that differ.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file: give a folder with -o")
    if not (output / SETTINGS).is_file():
        found = sorted(output.iterdir()) if output.is_dir() else []
        other = next((path.name for path in found if not path.name.endswith(".tmp")), None)
        if other is not None:
            raise OutputError(f"{output}: holds {other!r} and no {SETTINGS}: it is not a training's, choose another -o")
        return Place(output, output, False)
    if restart:
        if not _holds_work(output):
            return Place(output, output, False)
        folders = (output / f"{RESTARTED}{number}" for number in range(1, 1000))
        return Place(output, next(folder for folder in folders if not _holds_work(folder)), False)
    refused = None
    for directory in (*_restarts(output), output):
        try:
            _compare(directory, described, allow_changed_files)
            return Place(output, directory, True)
        except OutputError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def check_init(init: Path, output: Path) -> None:
    """Raise SettingsError where the first weights are those of the output, by whatever path.

    They would be another file's when the same command is given again to resume.
    """
    same = (init / WEIGHTS).resolve() == (output / WEIGHTS).resolve()
    same = same or (init.is_file() and init.resolve().parent == output.resolve())
    if same or (init.exists() and output.exists() and init.samefile(output)):
        raise SettingsError(
            f"--init {init} is of the output {output} itself, whose weights the training replaces: give another -o"
        )


def changed_files(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the files whose size is not what train.json says."""
    old, new = there.get("files", {}), now.get("files", {})
    return sorted(name for name in {**old, **new} if old.get(name) != new.get(name))


def _compare(directory: Path, described: Mapping[str, Any], allow_changed_files: bool) -> None:
    path = directory / SETTINGS
    try:
        there = json.loads(path.read_text(encoding="utf-8-sig"))
        # settings that its version of zodi did not know yet had no effect, as their defaults have none
        there["settings"] = TrainSettings().described() | there["settings"]
        parts = [json.loads(json.dumps((there[part], described[part]))) for part in COMPARED]
        differing = {
            key: (old.get(key), new.get(key))
            for old, new in parts
            for key in {**new, **old}
            if old.get(key) != new.get(key)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path}: is damaged ({error}): use --restart or another -o") from None
    if not differing:
        return
    if differing.keys() <= OF_FILES and there.get("files", {}).keys() == described["files"].keys():
        # before anything is saved nothing has come of the files as they were
        if allow_changed_files or not _holds_work(directory):
            return
        raise OutputError(_of_files(directory, there, described, next(iter(differing))))
    key, (old, new) = next(iter(differing.items()))
    first = f"{directory}: holds a training with other settings ({key}: {old!r} there, {new!r} now): "
    anew = "use --restart to train anew, which replaces it in the end, or another -o"
    if differing.keys() <= LENGTH:
        on = f"with --init {directory} and another -o"
        if (directory / DESCRIPTION).is_file():
            raise OutputError(f"{first}train on from its weights {on}; {anew}")
        raise OutputError(f"{first}finish it with {key} {old}, then train on from its weights {on}; {anew}")
    raise OutputError(first + anew)


def _of_files(directory: Path, there: Mapping[str, Any], described: Mapping[str, Any], key: str) -> str:
    changed = changed_files(there, described)
    old, new = there["files"], described["files"]
    named = [f"{name} ({old[name]} bytes there, {new[name]} now)" for name in changed[:SHOWN]]
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return (
        f"{directory}: files changed since the training began ({key}): {', '.join(named)}{more}: "
        "put them back, go on with them as they are now by --allow-changed-files, or use --restart or another -o"
    )


def _holds_work(directory: Path) -> bool:
    """Whether there is anything of a training that would be missed."""
    return any((directory / name).is_file() for name in (STATE, WEIGHTS, DESCRIPTION))


def _restarts(output: Path) -> list[Path]:
    return sorted(path for path in output.glob(f"{RESTARTED}*") if (path / SETTINGS).is_file())


def _remove(directory: Path) -> None:
    (directory / SETTINGS).unlink(missing_ok=True)  # first: what is left of it counts no more
    shutil.rmtree(
        directory, ignore_errors=True
    )  # what stays, on a network file system that still has it open, is in nobody's way


def _write(path: Path, described: Mapping[str, Any]) -> None:
    write_atomic(
        path, (json.dumps(described, indent=2) + "\n").encode()
    )  # ASCII: names of files may be in any encoding
