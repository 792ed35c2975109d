"""A segmenter of either kind, for whatever scores one: a checkpoint's net, or an exported file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from zodi.engines.devices import find_device
from zodi.engines.segmenters import DeployedSegmenter, open_segmenter
from zodi.segmenter.checkpoint import DESCRIPTION, Segmenter, load_checkpoint
from zodi.segmenter.deployed import predict_windows
from zodi.segmenter.images import Pixels, resize_label, to_input
from zodi.segmenter.predict import PredictSettings, predict_scores, resize_scores

Size = tuple[int, int]
Model = Segmenter | DeployedSegmenter


def open_model(path: Path, device: str = "auto") -> Model:
    """A checkpoint directory as its net, or an exported file. Raises ModelError and EngineError."""
    if (path / DESCRIPTION).exists() or not path.exists():
        return load_checkpoint(path, device=find_device(device))
    return open_segmenter(path, device=device)


@torch.inference_mode()
def predict_ids(segmenter: Model, images: Sequence[Pixels], wanted: Size, settings: PredictSettings) -> list[Pixels]:
    """Train ids (H, W) at the size `wanted` of images (h, w, 3) of one size.

    A net's scores are enlarged before the largest is taken; of a file the ids are, as it may have no scores.
    """
    if isinstance(segmenter, DeployedSegmenter):
        whole = settings.window is None
        ids = segmenter.predict(np.stack(images)) if whole else [predict_windows(segmenter, i) for i in images]
        return [resize_label(part, wanted) for part in ids]
    device = next(segmenter.net.parameters()).device
    inputs = torch.stack([to_input(image, segmenter.info) for image in images]).to(device)
    scores = resize_scores(predict_scores(segmenter, inputs, settings), wanted)
    return list(scores.argmax(dim=1).to(torch.uint8).cpu().numpy())
