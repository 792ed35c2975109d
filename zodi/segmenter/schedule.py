"""The learning rate of a step, a function of the settings and of its number."""

import math

from zodi.segmenter.settings import TrainSettings


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int, total: int) -> float:
    """lr (1 - t)^power, at least lr_floor ("poly", Liu et al., arXiv 1506.04579), times (step + 1) / warmup during it.

    step   0 .. total - 1
    t      step / total, or with the schedule "epoch" the share of whole epochs that are done
    """
    if settings.schedule == "epoch":
        assert settings.epochs is not None
        done = (step // steps_per_epoch) / settings.epochs
    else:
        done = step / total
    rate = max(settings.lr * math.pow(1.0 - done, settings.power), settings.lr_floor)
    return rate * (step + 1) / settings.warmup if step < settings.warmup else rate
