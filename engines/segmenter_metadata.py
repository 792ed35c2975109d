"""The metadata that an exported segmenter carries, checked against the file that it is in."""

import json
from collections.abc import Sequence
from pathlib import Path

from zodi.errors import ModelError
from zodi.segmenter.info import METADATA_KEY, FileInfo, file_info_from_json


def read_metadata(path: Path, text: str | None) -> FileInfo:
    """The description in a file; ModelError where there is none, or it is not one of this zodi's."""
    where = f"{path}: its metadata {METADATA_KEY!r}"
    if not text:
        raise ModelError(
            f"{path}: has no metadata {METADATA_KEY!r}: it was not made by zodi, or a tool dropped it: export it again"
        )
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{where} is not valid JSON ({error}): export it again") from None
    return file_info_from_json(content, where)


def check_channels(path: Path, file: FileInfo, shape: Sequence[object]) -> None:
    """Raise ModelError where a file's output (B, C, H, W) has other channels than its metadata has classes.

    shape  of the output; what may vary is no number
    """
    expected = 3 if file.output == "labels" else 4
    if len(shape) != expected:
        raise ModelError(f"{path}: its output has {len(shape)} axes, {file.output} have {expected}: export it again")
    if expected == 4 and shape[1] != len(file.model.classes):
        raise ModelError(
            f"{path}: its output has {shape[1]} channels, its metadata lists {len(file.model.classes)} classes: "
            "export it again"
        )
