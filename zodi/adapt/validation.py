"""Scores of images that were kept out of training, after each epoch: source images or their synthetic partners."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zodi.adapt.loading import read_partners
from zodi.adapt.pairs import Pair
from zodi.ahead import map_ahead
from zodi.data import Dataset
from zodi.files import write_atomic
from zodi.segmenter.cache import ImageCache
from zodi.segmenter.checkpoint import Segmenter, SegmenterInfo, write_tensors
from zodi.segmenter.checks import all_void, files_of
from zodi.segmenter.evaluate import Score
from zodi.segmenter.failures import Failures
from zodi.segmenter.images import Pixels, to_input
from zodi.segmenter.loading import labelled
from zodi.segmenter.metrics import Counts, class_iou, count_confusion, mean_iou
from zodi.segmenter.nets import build_net
from zodi.segmenter.pictures import write_confusion
from zodi.segmenter.predict import predict_scores
from zodi.segmenter.state import BEST, VALIDATION
from zodi.segmenter.weight_files import read_tensors

CONFUSION = "confusion.png"
BATCH = 8


@dataclass(frozen=True)
class Validation:
    """Scores weights on held-out images and notes them in `directory`.

    synthetic  score the synthetic partners, all of each image; else the source images
    failures   what cannot be read, which is left out
    keep_best  keep the weights that score best, for `finish`
    tell       called with one line for each score, in per cent
    """

    dataset: Dataset
    pairs: Sequence[Pair]
    directory: Path
    device: torch.device
    synthetic: bool
    keep_best: bool
    failures: Failures
    workers: int = 2
    cache: Path | None = None
    tell: Callable[[str], None] = lambda message: None

    def __call__(self, step: int, weights: dict[str, Tensor], info: SegmenterInfo) -> None:
        """Score the weights after `step` steps; a second call for one step replaces the first."""
        rows = [row for row in _read_rows(self.directory) if int(row[0]) < step]
        counts = self.count(weights, info)
        score, ious = mean_iou(counts), class_iou(counts)
        if self.keep_best and score > max((float(row[1]) for row in rows), default=-1.0):
            write_tensors(self.directory / BEST, weights)
        header = ["step", "miou", *info.classes]
        # rows that were written before there were columns for the classes are filled up
        rows = [[*row, *[""] * (len(header) - len(row))] for row in rows]
        rows.append([str(step), str(score), *("" if np.isnan(iou) else f"{iou:.6f}" for iou in ious)])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        write_atomic(self.directory / VALIDATION, text.getvalue().encode())
        each = (
            f"{name} {'-' if np.isnan(i) else f'{100 * i:.0f}'}" for name, i in zip(info.classes, ious, strict=True)
        )
        self.tell(f"step {step}: mIoU {100 * score:.1f}: {', '.join(each)}")

    def finish(self, last: dict[str, Tensor], info: SegmenterInfo) -> dict[str, Tensor]:
        """The weights to keep: those that scored best, the earliest of equals, or the last; draws their confusion."""
        weights = read_tensors(self.directory / BEST) if self.keep_best else last
        title = "kept out, synthetic" if self.synthetic else "kept out"
        score = Score(title, None, len(self.pairs), self.count(weights, info), info.classes)
        write_confusion(self.directory / CONFUSION, score)
        return weights

    def count(self, weights: dict[str, Tensor], info: SegmenterInfo) -> Counts:
        """Counts (C, C) of the held-out images at the size of training."""
        net = build_net(info.architecture, info.encoder, len(info.classes), options=info.options).net
        net.load_state_dict(weights)
        segmenter = Segmenter(net.to(self.device).eval(), info)
        counts = np.zeros((len(info.classes),) * 2, np.int64)
        items = self._arrays(info.size)
        while batch := list(islice(items, BATCH)):
            images = torch.stack([to_input(np.ascontiguousarray(array[..., :3]), info) for array in batch])
            ids = predict_scores(segmenter, images.to(self.device))[:, : len(info.classes)].argmax(dim=1)
            truth = np.stack([array[..., 3] for array in batch])
            counts += count_confusion(truth, ids.byte().cpu().numpy(), len(info.classes))
        if not counts.any():
            raise all_void(f"{self.dataset.root}: what is kept out ({len(self.pairs)} images)")
        return counts

    def _arrays(self, size: tuple[int, int]) -> Iterator[Pixels]:
        cache = ImageCache(size, self.cache, labels=self.dataset.label_coding)

        def read(pair: Pair) -> list[Pixels]:
            sample, files = pair.sample, files_of(pair.sample)
            source = self.failures.read(files, lambda: cache.get(files, lambda: labelled(self.dataset, sample, size)))
            if source is None or not self.synthetic:
                return [] if source is None else [source]
            return [array for _, array in read_partners(pair, source[..., 3], self.failures, size)]

        for arrays in map_ahead(read, self.pairs, self.workers, 2 * BATCH):
            yield from arrays


def read_log(directory: Path) -> list[tuple[int, float]]:
    """Step and mIoU of each validation so far."""
    return [(int(row[0]), float(row[1])) for row in _read_rows(directory)]


def _read_rows(directory: Path) -> list[list[str]]:
    """The rows of validation.csv: step, mIoU and the IoU of each class."""
    path = directory / VALIDATION
    if not path.is_file():
        return []
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))[1:]
