"""Batch norm statistics of the weights that are kept: of the images that were asked for, and nothing else changes."""

import numpy as np
import pytest
import torch
from nets import TINY

from zodi.segmenter.info import SegmenterInfo
from zodi.segmenter.nets import build_net
from zodi.segmenter.norm_statistics import take_norm_statistics

CPU = torch.device("cpu")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(0)
    architecture, encoder, options = TINY["architecture"], TINY["encoder"], TINY["options"]
    net = build_net(architecture, encoder, 19, options=options).net
    classes = tuple(f"class {i}" for i in range(19))
    info = SegmenterInfo(architecture, encoder, options, classes, (), (0.5,) * 3, (0.5,) * 3, (32, 64))
    return net, info, [torch.randn(2, 3, 32, 64) + shift for shift in (0.0, 1.0, 5.0)]


def test_the_first_layers_statistics_are_the_mean_over_batches(built):
    net, info, images = built
    weights = take_norm_statistics(net.state_dict(), info, images, CPU, seed=0)
    names = [name for name, module in net.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    convolution = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.inference_mode():
        seen = [convolution(batch) for batch in images]
    mean = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in seen]).mean(dim=0)
    variance = torch.stack([batch.var(dim=(0, 2, 3)) for batch in seen]).mean(dim=0)
    assert torch.allclose(weights[f"{names[0]}.running_mean"], mean, atol=1e-5)
    assert torch.allclose(weights[f"{names[0]}.running_var"], variance, rtol=1e-4)


def test_only_statistics_change_and_the_same_come_again(built):
    net, info, images = built
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    once = take_norm_statistics(before, info, images, CPU, seed=0)
    torch.manual_seed(77)
    again = take_norm_statistics(once, info, iter(images), CPU, seed=0)
    assert list(once) == list(before)
    for name, tensor in before.items():
        assert torch.equal(once[name], again[name]), name
        assert torch.equal(once[name], tensor) is not name.endswith(STATISTICS), name
        assert np.isfinite(once[name].numpy()).all()


def test_a_net_without_batch_norm_stays_as_it_is(built, monkeypatch):
    class Built:
        net = torch.nn.Conv2d(3, 2, 1)

    monkeypatch.setattr("zodi.segmenter.norm_statistics.build_net", lambda *args, **options: Built)
    weights = {name: tensor.clone() for name, tensor in torch.nn.Conv2d(3, 2, 1).state_dict().items()}
    after = take_norm_statistics(weights, built[1], [torch.zeros(1, 3, 4, 4)], CPU, seed=0)
    assert all(torch.equal(after[name], weights[name]) for name in weights)
