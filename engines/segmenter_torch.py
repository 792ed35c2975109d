"""Checkpoints behind the seam of exported segmenters, in eager PyTorch."""

from pathlib import Path

import numpy as np
import torch

from zodi import __version__
from zodi.engines.devices import find_device
from zodi.engines.segmenters import Images, RunFile, Scores
from zodi.errors import ModelError
from zodi.segmenter.checkpoint import DESCRIPTION, load_checkpoint
from zodi.segmenter.images import normalise
from zodi.segmenter.info import FileInfo
from zodi.segmenter.nets import as_segmenter
from zodi.segmenter.predict import forward

BATCH = (1, 1, 8)


def open_file(path: Path, *, device: str, threads: int | None) -> tuple[FileInfo, RunFile]:
    """See `zodi.engines.segmenters.open_segmenter`. The number of threads is the whole process's."""
    exported = sorted(p.name for ending in (".onnx", ".xml", ".engine", ".plan") for p in path.glob(f"*{ending}"))
    if exported and not (path / DESCRIPTION).exists():
        raise ModelError(f"{path}: holds an exported file, no checkpoint: give {path / exported[0]}")
    where = find_device(device)
    segmenter = load_checkpoint(path, device=where)
    if threads is not None:
        torch.set_num_threads(threads)
    multiple = as_segmenter(segmenter.net).multiple
    file = FileInfo(
        segmenter.info, "checkpoint", "fp32", "logits", "all", BATCH, "resize", multiple, {"zodi": __version__}
    )

    @torch.inference_mode()
    def run(images: Images) -> Scores:
        planes = torch.tensor(images, device=where).permute(0, 3, 1, 2)
        scores: Scores = forward(segmenter, normalise(planes, segmenter.info)).cpu().numpy().astype(np.float32)
        return scores

    return file, run
