"""Decoded and resized images with their labels, kept so that each file is decoded once: in memory or in a folder."""

import hashlib
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np

from zodi.errors import OutputError
from zodi.files import write_atomic
from zodi.segmenter.images import Pixels

MEMORY_BYTES = 2 * 2**30  # for each process; where a data set needs more, and no folder is given, nothing is kept

Size = tuple[int, int]


class ImageCache:
    """Arrays (H, W, 4), a RGB image and its train ids, by the files that they come from.

    In a folder each is a .npy whose name says path, time of change and bytes of its files, so that a changed file is
    decoded again. It is memory-mapped: a crop reads no more than its own rows.
    """

    def __init__(self, size: Size, directory: Path | None = None, *, labels: str, expected: int = 0) -> None:
        """Keep arrays of `size` = (height, width).

        directory  None: in memory, if `expected` arrays fit there
        labels     the data set's `label_coding`, since the arrays hold train ids

        Raises OutputError where the directory cannot be made.
        """
        self._kind = f"{size} {labels} upright"  # not the arrays of when EXIF was ignored
        self._directory = directory
        fits = expected * 4 * size[0] * size[1] <= MEMORY_BYTES
        self._memory: dict[tuple[Path, ...], Pixels] | None = {} if directory is None and fits else None
        if directory is not None:
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{directory}: cannot be made ({error.strerror}): give another folder with --cache"
                ) from None

    def get(self, sources: tuple[Path, ...], decode: Callable[[], Pixels]) -> Pixels:
        """The array of these files, by `decode` where it is not kept yet."""
        if self._memory is not None:
            if sources not in self._memory:
                self._memory[sources] = decode()
            return self._memory[sources]
        if self._directory is None:
            return decode()
        path = self._directory / f"{self._name(sources)}.npy"
        if not path.is_file():
            content = BytesIO()
            np.save(content, decode())
            own = path.with_name(f"{path.stem}-{os.getpid()}.npy")  # another process may be writing the same
            write_atomic(own, content.getvalue(), sync=False)
            own.replace(path)
        array: Pixels = np.load(path, mmap_mode="r")
        return array

    def _name(self, sources: tuple[Path, ...]) -> str:
        parts = [self._kind]
        for source in sources:
            found = source.stat() if source.is_file() else None  # where it is missing, decoding says so
            parts += [os.path.realpath(source), str(found and (found.st_mtime_ns, found.st_size))]
        return hashlib.sha256("|".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]
