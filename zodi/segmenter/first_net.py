"""The net that a training begins with: built, with its first weights, and able to take the images that it will get."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from zodi.data import Dataset
from zodi.errors import ModelError, SettingsError
from zodi.segmenter.checkpoint import SegmenterInfo, load_checkpoint, palette_of
from zodi.segmenter.freezing import freeze_weights
from zodi.segmenter.loop import Loss
from zodi.segmenter.nets import build_net
from zodi.segmenter.probe import Probe, opening_options
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.weight_files import load_net_weights


def first_net(dataset: Dataset, settings: TrainSettings, init: Path | None) -> tuple[nn.Module, SegmenterInfo]:
    """The net with its first weights, and what its checkpoint will say. Raises ModelError and SettingsError."""
    assert settings.size is not None
    torch.manual_seed(settings.seed)
    built = build_net(
        settings.architecture,
        settings.encoder,
        dataset.label_set.num_classes,
        encoder_weights=settings.encoder_weights if init is None else "none",
        options=settings.options,
    )
    info = SegmenterInfo(
        architecture=settings.architecture,
        encoder=settings.encoder,
        options=dict(settings.options),
        classes=dataset.label_set.names,
        palette=palette_of(dataset.label_set),
        mean=built.mean,
        std=built.std,
        size=settings.size,
    )
    if init is not None and init.is_file():
        load_net_weights(built.net, init, info.net)
    elif init is not None:
        before = load_checkpoint(init)
        if before.info.classes != info.classes:
            raise ModelError(
                f"{init}: has other classes than label set {dataset.label_set.name!r}: choose another --init"
            )
        weights = before.net.state_dict()
        shapes, own = ({name: t.shape for name, t in net.state_dict().items()} for net in (before.net, built.net))
        if shapes != own:
            raise ModelError(
                f"{init}: is {before.info.net}, the net to train is {info.net}: "
                "choose another --init, or give its --architecture, --encoder and --net-option"
            )
        built.net.load_state_dict(weights)
        info = replace(info, mean=before.info.mean, std=before.info.std)
    return built.net, info


def check_net(
    net: nn.Module,
    info: SegmenterInfo,
    settings: TrainSettings,
    loss: Loss,
    *,
    share: int,
    validates: bool,
    notify: Callable[[str], None],
) -> list[str]:
    """Raise SettingsError for a crop that the net cannot be trained on; the names of parameters without gradient.

    share      images of one forward pass
    validates  whole images will be scored; else one may do with windows, and is told
    """
    assert settings.crop is not None
    freeze_weights(net, settings.freeze)
    probe = Probe(net, settings.freeze)
    reason = probe.refusal(settings.crop, batch=share, training=True)
    if reason is not None and "more than 1 value per channel" in reason:
        fewer = f"fewer parts than --accumulate {settings.accumulate}, " if settings.accumulate > 1 else ""
        raise SettingsError(
            f"{settings.architecture} cannot be trained on one image per process and {'part' if fewer else 'step'}, "
            f"its batch norm needs two: use {fewer}a larger --batch, or --freeze norm-statistics"
        )
    if reason is not None:
        raise SettingsError(
            f"the crop {_text(settings.crop)} does not fit {info.net} ({reason}): "
            f"{_advice(probe, info, settings, share)}"
        )
    height, width = (-(-side // probe.multiple) * probe.multiple for side in info.size)
    reason = probe.refusal((height, width))
    if reason is not None and validates:
        raise SettingsError(
            f"whole images of {_text(info.size)}, which --validate scores, do not fit {info.net} ({reason}): "
            f"use --size {_text(settings.crop)}, or leave --validate out"
        )
    if reason is not None:
        notify(f"{info.net} takes no whole images of {_text(info.size)}, only windows: evaluate with --window "
               f"{_text(settings.crop)}")  # fmt: skip
    return probe.without_gradient(loss, settings.crop, batch=share)


def _advice(probe: Probe, info: SegmenterInfo, settings: TrainSettings, share: int) -> str:
    assert settings.crop is not None
    found = probe.fitting(settings.crop, batch=share, training=True)
    advice = []
    if found is not None:
        larger = found[0] > info.size[0] or found[1] > info.size[1]
        advice.append(f"--crop {_text(found)}{' with as large a --size' if larger else ''}")
    if not any(side % probe.multiple for side in settings.crop) or found is None:
        options = opening_options(info.architecture, info.encoder, info.options, settings.crop)
        given = [f"--net-option {name}={json.dumps(value)}" for name, value in options.items()]
        advice += [" ".join(given)] if given else []
    return f"use {' or '.join(advice)}" if advice else "no size was found that does: use another net"


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
