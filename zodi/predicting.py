"""What `zodi predict` does: images and videos of any size through a segmenter; only checkpoints need PyTorch."""

import glob
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from zodi.ahead import map_ahead
from zodi.data import Problem, read_image
from zodi.data.check import note_several, several_frames
from zodi.data.dataset import in_brief
from zodi.data.layout import pictures, with_suffix
from zodi.data.suffixes import FURTHER_SUFFIXES, IMAGE_SUFFIXES, LABEL_SUFFIXES, UNREAD_SUFFIXES, VIDEO_SUFFIXES
from zodi.engines.segmenters import DeployedSegmenter, open_segmenter
from zodi.errors import DataError, FileNameError, SettingsError
from zodi.files import write_atomic
from zodi.labels import Colour
from zodi.memory import is_out_of_memory
from zodi.segmenter.deployed import predict_sizes
from zodi.segmenter.images import Pixels
from zodi.segmenter.pictures import overlay

LABELS, OVERLAYS = "labels", "overlays"
NO_MEMORY = "does not fit into memory: make it smaller, or cut it into parts"
LABEL_PNGS = ("palette", "grey")


@dataclass
class Predicted:
    """What `predict_images` did.

    labels   of each image, by its key
    videos   by key
    failed   why images could not be predicted, and videos not to their end, by path
    seconds  how long it took
    """

    labels: dict[str, Path] = field(default_factory=dict)
    videos: dict[str, "PredictedVideo"] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class PredictedVideo(NamedTuple):
    """The folder of the labels of a video's frames, how many there are, and the video of the overlays."""

    labels: Path
    frames: int
    overlay: Path | None


def predict_images(
    model: Path,
    places: Sequence[str],
    output: Path,
    *,
    overlays: bool = True,
    labels: str = "palette",
    batch: int = 1,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 2,
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, key: None,
) -> Predicted:
    """Write `labels/KEY.png`, train ids at the image's own size, and `overlays/KEY.png`.

    Of a video `labels/KEY/000000.png` and so on, a file for each frame, and `overlays/KEY.mp4`.

    model   a checkpoint directory or a file that `zodi export-segmenter` made
    places  images, videos, folders and glob patterns; KEY is the path of a file within its folder, without suffix
    labels  PNGs of ids with the classes' colours as their "palette", or "grey", which OpenCV reads as ids too
    batch   images per call, where the file takes so many
    notify  told which files of the places are no images to predict, e.g. what an earlier call wrote

    Images are read upright. One that cannot be read or predicted is left out and told, and so are the frames of a video
    after one that cannot be read. Raises DataError where there is
    no image or two have one key, SettingsError, ModelError, EngineError and OutputError.
    """
    if labels not in LABEL_PNGS:
        raise SettingsError(f"labels is {labels!r}, allowed are {', '.join(LABEL_PNGS)}")
    files = find_images(places, output, notify, videos=True)
    images = {key: path for key, path in files.items() if not _is_video(path)}
    videos = {key: path for key, path in files.items() if _is_video(path)}
    result = Predicted()
    lengths = {key: _frames(path, result) for key, path in videos.items()}
    total = len(images) + sum(lengths.values())
    several: list[str] = []
    segmenter = open_segmenter(model, device=device, threads=threads)
    colours = segmenter.info.palette if labels == "palette" else None
    start = time.perf_counter()

    def load(item: tuple[str, Path]) -> tuple[str, Pixels | str]:
        try:
            image = read_image(item[1])
            several.extend(several_frames(item[1]))
            return item[0], image
        except DataError as error:
            return item[0], str(error)

    read = map_ahead(load, images.items(), workers, workers + batch)
    done = 0
    while items := list(islice(read, batch)):
        result.failed |= {str(images[key]): image for key, image in items if isinstance(image, str)}
        good = [(key, image) for key, image in items if not isinstance(image, str)]
        for (key, image), ids in zip(good, _predict(segmenter, [image for _, image in good]), strict=True):
            try:
                if ids is None:
                    raise MemoryError
                label = label_png(ids, colours)
                shown = overlay(image, ids, segmenter.info.palette) if overlays else None
                result.labels[key] = _write(output, key, label, shown)
            except FileNameError as error:
                result.failed[str(images[key])] = str(error)
            except MemoryError:
                result.failed[str(images[key])] = NO_MEMORY
        done += len(items)
        on_progress(done, total, items[-1][0])
    for line in note_several(sorted(several)):
        notify(line)
    for key in (key for key, path in videos.items() if str(path) not in result.failed):
        before = done

        def update(frames: int, key: str = key, before: int = before) -> None:
            on_progress(before + frames, max(total, before + frames), key)

        predicted, failure = _predict_video(
            segmenter, videos[key], output, key, colours, overlays=overlays, batch=batch, on_frames=update
        )
        done += lengths[key]
        result.videos[key] = predicted
        if failure is not None:
            result.failed[str(videos[key])] = failure
    result.seconds = time.perf_counter() - start
    return result


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _frames(path: Path, result: Predicted) -> int:
    """How many frames a video says that it has; 0 and a failure where it cannot be opened."""
    from zodi.videos import VideoReader

    try:
        with VideoReader(path) as reader:
            return reader.frames
    except DataError as error:
        result.failed[str(path)] = str(error)
        return 0


def _predict_video(
    segmenter: DeployedSegmenter,
    path: Path,
    output: Path,
    key: str,
    colours: tuple[Colour, ...] | None,
    *,
    overlays: bool,
    batch: int,
    on_frames: Callable[[int], None],
) -> tuple[PredictedVideo, str | None]:
    """Predict frames until the end, or until one cannot be; and why then. What is written stays."""
    from zodi.videos import Frame, VideoReader, VideoWriter

    labels, count = output / LABELS / key, 0
    failures: list[str] = []
    with VideoReader(path) as reader, VideoWriter(output / OVERLAYS / f"{key}.mp4", reader) as writer:

        def whole() -> Iterator[Frame]:
            size = None
            try:
                for frame in reader:
                    size = size or frame.pixels.shape
                    if frame.pixels.shape != size:
                        raise DataError(f"{path}: its frames change their size: cut it there, e.g. with ffmpeg")
                    yield frame
            except DataError as error:
                failures.append(f"{error}: {count} frames are predicted")

        frames = whole()
        while part := list(islice(frames, batch)):
            for frame, ids in zip(part, _predict(segmenter, [frame.pixels for frame in part]), strict=True):
                if ids is None:
                    failures.append(NO_MEMORY)
                    break
                write_atomic(labels / f"{count:06d}.png", label_png(ids, colours), sync=False)
                if overlays:
                    writer.write(Frame(overlay(frame.pixels, ids, segmenter.info.palette), frame.time))
                count += 1
            on_frames(count)
        shown = writer.close()
    if not count and not failures:
        failures.append(f"{path}: has no frame")
    return PredictedVideo(labels, count, shown), next(iter(failures), None)


def find_images(
    places: Sequence[str],
    output: Path | None = None,
    notify: Callable[[str], None] = lambda message: None,
    *,
    videos: bool = False,
) -> dict[str, Path]:
    """Image files by key, sorted: of a folder all in it and below, of a pattern all it matches.

    videos  take these files, too

    output  of a prediction: the folders that it writes to are left out, unless an image in them is given by name
    notify  told what is left out

    Raises DataError for a place without images and for two images with one key.
    """
    suffixes = IMAGE_SUFFIXES + UNREAD_SUFFIXES + (VIDEO_SUFFIXES if videos else ())
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for place in places:
        root, paths = Path(place), [Path(place)]
        if root.is_dir():
            paths = _without_own(_readable(pictures(root, suffixes), problems), output, problems)
        elif not root.exists():
            matches = [Path(name) for name in glob.glob(place, recursive=True)]  # noqa: PTH207
            paths = _without_own([path for path in matches if path.is_file()], output, problems)
        if not paths:
            what = "an empty folder: it has" if root.is_dir() else "matches"
            raise DataError(f"{place}: {what} no image ({', '.join(LABEL_SUFFIXES)} ...): check the path")
        for path in sorted(paths, key=lambda path: (path.suffix.lower() in FURTHER_SUFFIXES, path)):
            key = (path.relative_to(root) if root.is_dir() else Path(path.name)).with_suffix("").as_posix()
            if key in found and path.suffix.lower() not in FURTHER_SUFFIXES:
                raise DataError(f"{path}: is called as {found[key]} is: predict them into two folders")
            if key in found:
                problems.append(Problem(path, f"is left out, it is called as {found[key]} is", "name"))
            else:
                found[key] = path
    inside = {parent.as_posix() for key in found for parent in Path(key).parents}
    for key, path in found.items():
        if _is_video(path) and key in inside:
            raise DataError(
                f"{path}: its labels would be in the folder of those of {key}/: predict them into two folders"
            )
    for line in in_brief(problems):
        notify(line)
    return found


def _readable(paths: list[Path], problems: list[Problem]) -> list[Path]:
    read = with_suffix(paths, IMAGE_SUFFIXES + VIDEO_SUFFIXES)
    problems += [
        Problem(path, f"is left out, {path.suffix} files are not read: convert it to PNG or JPEG", path.suffix.lower())
        for path in sorted({*paths} - {*read})
    ]
    return read


def _without_own(paths: list[Path], output: Path | None, problems: list[Problem]) -> list[Path]:
    own = [] if output is None else [os.path.realpath(output / name) for name in (LABELS, OVERLAYS)]
    inside = {path for path in paths if any(Path(os.path.realpath(path.parent)).is_relative_to(place) for place in own)}
    problems += [
        Problem(path, "is left out, predictions are written to its folder: choose another -o to predict it", "own")
        for path in sorted(inside)
    ]
    return [path for path in paths if path not in inside]


def _predict(segmenter: DeployedSegmenter, images: Sequence[Pixels]) -> Sequence[Pixels | None]:
    """Train ids of each image; one by one where memory does not hold all, None for one that it does not hold alone."""
    try:
        return predict_sizes(segmenter, images)
    except Exception as error:  # each runtime has its own class for a full memory; the rest goes on up
        if not is_out_of_memory(error):
            raise
    if len(images) == 1:
        return [None]
    return [ids for image in images for ids in _predict(segmenter, [image])]


def _write(output: Path, key: str, label: bytes, shown: Pixels | None) -> Path:
    """Write the label's PNG and the overlay of an image, return the label's path."""
    path = output / LABELS / f"{key}.png"
    write_atomic(path, label, sync=False)
    if shown is not None:
        write_atomic(output / OVERLAYS / f"{key}.png", _png(Image.fromarray(shown)), sync=False)
    return path


def label_png(ids: Pixels, palette: tuple[Colour, ...] | None) -> bytes:
    """Train ids (H, W) as a PNG whose pixels are the ids: in the classes' colours by a palette, or 8-bit grey."""
    picture = Image.fromarray(ids)
    if palette is not None:
        picture.putpalette([value for colour in palette for value in colour])
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
