"""What messages of a training advise is the way out: parts of a step, memory, packages."""

from dataclasses import replace

import pytest
import torch
from accelerate.tracking import get_available_trackers

from zodi.data import open_dataset
from zodi.errors import EngineError, SettingsError
from zodi.segmenter.loop import fit
from zodi.segmenter.processes import make_accelerator
from zodi.segmenter.train import train


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def test_one_image_in_each_part_is_too_few(data, quick, tmp_path):
    with pytest.raises(
        SettingsError, match=r"one image per process and part.*use fewer parts than --accumulate 2, a lar"
    ):
        run(data, tmp_path / "out", replace(quick, accumulate=2))


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({}, r"use a larger --accumulate than 1 or a smaller --crop or --batch or --precision bf16, with --restart"),
        ({"accumulate": 2}, r"use a smaller --crop or --batch or --precision bf16"),
    ],
)
def test_out_of_memory(data, quick, tmp_path, changed, advice):
    """A tensor that no machine holds, in the loss."""

    def loss(net, batch, whole):
        return {"loss": net(batch["image"]).sum() + torch.empty(2**46).sum()}

    settings = replace(quick, **changed)
    net = torch.nn.Conv2d(3, 19, 1)

    class Batches:
        steps = 3

        def __call__(self, epoch, first):
            while True:
                yield {"image": torch.zeros(2, 3, 32, 64), "label": torch.zeros(2, 32, 64, dtype=torch.int64)}

    with pytest.raises(EngineError, match=rf"out of memory in step 1: {advice}"):
        fit(net, loss, Batches(), settings, tmp_path, make_accelerator(settings, "cpu"))


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        ("comet_ml", r"'comet_ml' is not installed: installed are .*: pip install comet-ml$"),
        ("wandb", r"'wandb' is not installed: installed are .*: pip install wandb$"),
        ("wanbd", r"'wanbd' is not installed or unknown: .*: pip install tensorboard, or another of aim, .*wandb"),
    ],
)
def test_packages_of_trackers(quick, tracker, message):
    if tracker in map(str, get_available_trackers()):
        pytest.skip(f"{tracker} is installed")
    with pytest.raises(SettingsError, match=message):
        make_accelerator(quick, "cpu", tracker)
