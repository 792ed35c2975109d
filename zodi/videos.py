"""Videos frame by frame, read and written by FFmpeg through PyAV; never more than a few frames are in memory."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from zodi.errors import DataError
from zodi.files import cannot_write

Pixels = NDArray[np.uint8]

SLACK = 0.25  # seconds by which a file may be shorter than it says: sound and pictures seldom end together
QUALITY = "18"  # x264's constant rate factor: hardly to be told from the original


class Frame(NamedTuple):
    """A frame as players show it: RGB (H, W, 3), and when, in units of the video's `time_base`."""

    pixels: Pixels
    time: int | None


class VideoReader:
    """The frames of a video file, upright, in the order of their display.

    seconds    how long it is by what the file says of itself; 0: it does not say
    frames     likewise, how many frames it has
    rate       frames per second, on average
    time_base  seconds of a unit of time
    """

    def __init__(self, path: Path) -> None:
        """Open a file. Raises DataError where it cannot be read, or has no pictures."""
        import av

        self.path = path
        with _named(path):
            self._container = av.open(str(path))
        stream = next(iter(self._container.streams.video), None)
        if stream is None:
            self._container.close()
            raise DataError(f"{path}: is a video file without pictures: leave it out")
        stream.thread_type = "AUTO"
        self._stream: Any = stream
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.time_base = Fraction(stream.time_base or 1 / self.rate)
        if stream.duration:
            self.seconds = float(stream.duration * self.time_base)
        else:
            self.seconds = (self._container.duration or 0) / av.time_base
        self.frames = stream.frames or round(self.seconds * self.rate)

    def __iter__(self) -> Iterator[Frame]:
        """Every frame. Raises DataError where the file ends too early or is damaged; frames until there are given."""
        first = last = None
        with _named(self.path):
            for frame in self._container.decode(self._stream):
                first, last = (frame.pts if first is None else first), frame.pts
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield Frame(np.ascontiguousarray(pixels), frame.pts)
        if first is None or last is None:
            return
        shown = float((last - first) * self.time_base + 1 / self.rate)
        if self.seconds - shown > max(
            SLACK, float(3 / self.rate)
        ):  # FFmpeg takes a file that was cut off for one that ends
            raise DataError(f"{self.path}: ends after {shown:.1f} of {self.seconds:.1f} s, it is truncated or damaged")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()


class VideoWriter:
    """An MP4 file of H.264, which every browser and player shows; it is there when it is closed, and whole.

    Frames keep the times that they have in the reader's video, so that a varying rate stays. A side that is not even,
    which H.264 does not know, gets its last row or column twice.
    """

    def __init__(self, path: Path, reader: VideoReader) -> None:
        """Raises OutputError where the file cannot be written."""
        self._path, self._reader = path, reader
        self._temporary = path.with_name(f"{path.name}.tmp")
        self._container: Any = None
        self._stream: Any = None
        self._time = -1

    def write(self, frame: Frame) -> None:
        """Add a frame; all must have one size. Raises OutputError."""
        import av

        even = [(0, side % 2) for side in frame.pixels.shape[:2]]
        pixels = np.pad(frame.pixels, [*even, (0, 0)], "edge") if any(add for _, add in even) else frame.pixels
        container, stream = self._opened(pixels.shape[1], pixels.shape[0])
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        # players want times that grow; files that were cut or joined have some that do not
        self._time = max(self._time + 1, frame.time if frame.time is not None else 0)
        picture.pts, picture.time_base = self._time, self._reader.time_base
        with _unwritable(self._path):
            container.mux(stream.encode(picture))

    def _opened(self, width: int, height: int) -> tuple[Any, Any]:
        """The container and its stream, made for the first frame."""
        import av

        if self._container is not None:
            return self._container, self._stream
        with _unwritable(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "faststart"})
            self._stream = self._container.add_stream("libx264", rate=self._reader.rate, options={"crf": QUALITY})
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.time_base = self._stream.codec_context.time_base = self._reader.time_base
        return self._container, self._stream

    def close(self) -> Path | None:
        """Put the file in place; None where no frame was written."""
        if self._container is None:
            return None
        with _unwritable(self._path):
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None
            self._temporary.replace(self._path)
        return self._path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            with suppress(Exception):  # what it has left to write is not wanted any more
                self._container.close()
        with suppress(OSError):  # where it cannot be removed it could not be made
            self._temporary.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as a video ({error.strerror}): is it whole, can it be played?"
        ) from None


@contextmanager
def _unwritable(path: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError) as error:
        raise cannot_write(path, OSError(error.errno, error.strerror)) from None
