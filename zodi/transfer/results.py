"""From a decoded image to a file and its row in the manifest."""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zodi.data import Sample
from zodi.errors import FileNameError
from zodi.files import remove, write_atomic
from zodi.labels import IGNORE, Ids, LabelSet
from zodi.memory import is_out_of_memory
from zodi.transfer.images import Planes, decoded_image, resize_image, resize_label
from zodi.transfer.items import NO_MEMORY, Item, Target, mask_path, result_path
from zodi.transfer.manifest import Row
from zodi.transfer.pipeline import image_seed
from zodi.transfer.quality import disagreement, score
from zodi.transfer.settings import TransferSettings


@dataclass(frozen=True)
class Result:
    """One image as the engine decoded it, planes (3, h, w), with what the judge says of it.

    seconds             wall time of its batch divided by the batch's images
    note                see `Row`
    failure             why it is not to be used, found outside the image itself
    verdict             `layout_scores`, and judged, confidence (h, w) the judge's pixels; None without a judge
    """

    item: Item
    target: Target
    seed: int
    planes: Planes
    seconds: float = 0.0
    note: str | None = None
    failure: str | None = None
    verdict: dict[str, Any] | None = None
    judged: Ids | None = None
    confidence: NDArray[np.float32] | None = None

    @cached_property
    def problem(self) -> str | None:
        """Why this is not to be used, or None."""
        if self.failure is not None:
            return self.failure
        if not np.isfinite(self.planes).all():
            return "the result is not finite: try --precision fp32"
        if all(plane.min() == plane.max() for plane in self.planes):
            return "the result is one flat colour: try --precision fp32"
        return None

    def too_low(self, settings: TransferSettings) -> bool:
        """Whether its layout agreement is below what is asked for."""
        return (
            settings.min_layout is not None
            and self.verdict is not None
            and self.verdict["layout"] < settings.min_layout
        )


def write_result(result: Result, settings: TransferSettings, label_set: LabelSet, output: Path) -> Row:
    """Score and write an image and, where asked for, its mask; return its row.

    An image that cannot be right, or whose name the output cannot hold, is a failed row and no file; one whose layout
    agreement is too low is written below `OUT/quarantine/`.
    """
    item, target = result.item, result.target
    if result.problem is not None:
        return failed_row(item.sample, target, settings, result.problem, item.attempt)
    try:
        return _write(result, settings, label_set, output)
    except FileNameError as error:
        if _is_blocked(output, target.domain):
            raise
        return failed_row(item.sample, target, settings, str(error), item.attempt)
    except Exception as error:  # each library has its own class for a full memory; the rest goes on up
        if not is_out_of_memory(error):
            raise
        return failed_row(item.sample, target, settings, f"{item.sample.image}: {NO_MEMORY}", item.attempt)


def _is_blocked(output: Path, domain: str) -> bool:
    """Whether a file stands where the folder of all results of a domain, or of their masks, must be."""
    of_results = [result_path(output, domain, "any", quarantined=quarantined) for quarantined in (False, True)]
    paths = [*of_results, mask_path(output, domain, "any")]
    folders = {folder for path in paths for folder in (path.parent, path.parent.parent)}
    return any(folder.exists() and not folder.is_dir() for folder in folders)


def _write(result: Result, settings: TransferSettings, label_set: LabelSet, output: Path) -> Row:
    item, target = result.item, result.target
    image = decoded_image(result.planes, settings.pixels)
    scores = score(decoded_image(item.image, "rounded"), image, item.label, label_set) | (result.verdict or {})
    size = item.source_size if settings.output_size == "source" else item.label.shape
    content = encode_png(resize_image(image, (size[0], size[1])))
    if settings.mask_disagreement and result.judged is not None and result.confidence is not None:
        doubtful = disagreement(result.judged, result.confidence, item.label)
        scores["masked"] = round(float(doubtful.mean()), 4)
        mask = resize_label(np.where(doubtful, IGNORE, 0).astype(np.uint8), (size[0], size[1]))
        write_atomic(mask_path(output, target.domain, item.sample.key), encode_png(mask), sync=False)
    else:  # one of an earlier run with other settings would be taken for this image's
        remove(mask_path(output, target.domain, item.sample.key))
    quarantined = result.too_low(settings)
    path = result_path(output, target.domain, item.sample.key, quarantined=quarantined)
    write_atomic(path, content, sync=False)
    remove(result_path(output, target.domain, item.sample.key, quarantined=not quarantined))
    return Row(
        domain=target.domain,
        key=item.sample.key,
        status="quarantined" if quarantined else "ok",
        settings=target.settings,
        seed=result.seed,
        attempt=item.attempt,
        source_sha256=item.source_sha256,
        label_sha256=item.label_sha256,
        sha256=hashlib.sha256(content).hexdigest(),
        seconds=round(result.seconds, 4),
        scores=scores,
        note=result.note,
        error=f"layout agreement {scores['layout']:.2f} is below {settings.min_layout}" if quarantined else None,
    )


def failed_row(sample: Sample, target: Target, settings: TransferSettings, error: str, attempt: int = 0) -> Row:
    """The row of an image that could not be made."""
    seed = image_seed(settings.seed, target.domain, sample.key, attempt)
    return Row(target.domain, sample.key, "failed", target.settings, seed, attempt, error=error)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """An image (H, W, 3) or (H, W) as PNG, at the fast compression level."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
