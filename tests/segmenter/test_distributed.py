"""Two processes with half of the batch each train the same weights as one; with accelerate, over gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import make_synthetic

from zodi.segmenter.augment import epoch_order
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.nets import build_net

TOGETHER = """
import sys
from pathlib import Path
import torch
from torch import nn
from zodi.adapt.loading import PairBatches
from zodi.adapt.objective import make_pair_loss
from zodi.adapt.pairs import find_pairs
from zodi.data import open_dataset
from zodi.segmenter.loading import SourceBatches
from zodi.segmenter.loop import fit
from zodi.segmenter.protocol import Outputs
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.processes import make_accelerator
from zodi.segmenter.train import source_loss

class Form:
    mean = std = (0.5, 0.5, 0.5)

torch.set_num_threads(1)
data, output = Path(sys.argv[1]), Path(sys.argv[2])
settings = TrainSettings(size=(48, 96), crop=(32, 64), epochs=2, batch=2, lr=0.1, optimizer="sgd", ema=0.9)
class Net(nn.Module):  # no batch norm, no dropout
    def __init__(self):
        super().__init__()
        self.features, self.classifier = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 19, 1)

    def forward(self, images, with_features=False):
        features = self.features(images).relu()
        logits = self.classifier(features)
        return Outputs(logits, features) if with_features else logits

torch.manual_seed(0)
net = Net()
accelerator = make_accelerator(settings, "cpu")
assert accelerator.num_processes == int(sys.argv[3])
share = {"process": accelerator.process_index, "processes": accelerator.num_processes}
dataset = open_dataset(None, data)
if len(sys.argv) > 4:
    pairs = find_pairs(dataset, [Path(sys.argv[4])])
    batches, loss = PairBatches(dataset, pairs, settings, Form(), **share), make_pair_loss(0.1)
else:
    batches, loss = SourceBatches(dataset, settings, Form(), **share), source_loss
output.mkdir(exist_ok=True)
weights = fit(net, loss, batches, settings, output, accelerator)
if accelerator.is_main_process:
    torch.save(weights, output / "weights.pth")
accelerator.end_training()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(processes: int, *arguments: str) -> list[tuple[int, str, str]]:
    """Exit status, standard output and error of each process of a program over gloo."""
    shared = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "ACCELERATE_USE_CPU": 1}
    running = []
    for rank in range(processes):
        own = {"RANK": rank, "LOCAL_RANK": rank, **shared} if processes > 1 else {}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in own.items()}}
        command = [sys.executable, *arguments]
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    ended = [process.communicate(timeout=300) for process in running]
    return [(process.returncode, *texts) for process, texts in zip(running, ended, strict=True)]


def train(data: Path, output: Path, processes: int, *synthetic: Path) -> dict[str, torch.Tensor]:
    script = output.with_suffix(".py")
    script.write_text(TOGETHER)
    for status, _, errors in launch(
        processes, str(script), str(data), str(output), str(processes), *map(str, synthetic)
    ):
        assert status == 0, errors
    return torch.load(output / "weights.pth")


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [False, True], ids=["images", "pairs"])
def test_two_processes_equal_one(data, tmp_path, pairs):
    synthetic = [make_synthetic(data, tmp_path / "synthetic", ("night", "fog"))] if pairs else []
    one = train(data, tmp_path / "one", 1, *synthetic)
    two = train(data, tmp_path / "two", 2, *synthetic)
    assert len(one) == 4
    for name, weight in one.items():
        assert torch.allclose(two[name], weight, atol=1e-5), name
    torch.manual_seed(0)
    untrained = torch.nn.Conv2d(3, 8, 3, padding=1).weight
    assert not torch.allclose(one["features.weight"], untrained, atol=1e-2)  # else equality would mean little
    first, second = ((tmp_path / name / "train.csv").read_text().splitlines() for name in ("one", "two"))
    assert len(first) == len(second) == 1 + 6


LOOK_OFTEN = """
import runpy, sys
import zodi.segmenter.loop
zodi.segmenter.loop.LOG_SECONDS = 0.01  # each process has a clock of its own
sys.argv = ["zodi", *sys.argv[1:]]
runpy.run_module("zodi.cli", run_name="__main__")
"""


def test_the_command_in_two_processes_ends_well_and_is_told_once(data, tmp_path):
    """Statistics, validation, checkpoint and oracle are the first process's alone; the others wait for it."""
    synthetic = make_synthetic(data, tmp_path / "synthetic", ("night",))
    output = tmp_path / "out"
    arguments = ("adapt", "--source", data, "--synthetic", synthetic, "-o", output, "--oracle", data,
        "--architecture", "fpn", "--encoder", "tu-resnet10t", "--encoder-weights", "none", "--size", "64x128",
        "--crop", "32x64", "--batch", "4", "--epochs", "3", "--validate", "synthetic", "--holdout", "0.4",
        "--json", tmp_path / "told.json",
    )  # fmt: skip
    first, second = launch(2, "-c", LOOK_OFTEN, *map(str, arguments))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "oracle only" in first[1] and second[1] == ""
    for name in ("model.safetensors", "curves.png", "confusion.png", "confusion-oracle-1.png", "config.toml"):
        assert (output / name).is_file(), name
    assert not list(output.glob("*.tmp")) and not (output / "state.pt").exists()
    steps = (output / "train.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in steps] == list(range(1, len(steps) + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "unused", "paired"),
    [
        ("fpn", "efficientnet-b0", (), "encoder._conv_head.", False),
        ("pspnet", "resnet18", (), "encoder.layer4.", False),
        ("pspnet", "resnet18", (), "encoder.layer4.", True),
        ("dpt", "tu-vit_tiny_patch16_224", ("--net-option", "dynamic_img_size=true"), "encoder.model.norm.", True),
    ],
    ids=["efficientnet", "pspnet", "pspnet-pairs", "dpt-pairs"],
)
def test_nets_with_parameters_that_get_no_gradient(data, tmp_path, architecture, encoder, options, unused, paired):
    """Two processes would wait for these gradients in the second step; they stay as they were, all others do not."""
    output = tmp_path / "out"
    source = ("--synthetic", make_synthetic(data, tmp_path / "synthetic", ("night",))) if paired else ()
    arguments = ("adapt", "--source", data, *source, "-o", output, "--device", "cpu", "--architecture", architecture,
        "--encoder", encoder, "--encoder-weights", "none", *options, "--size", "64x96", "--crop", "64x64",
        "--batch", "4", "--iterations", "3", "--lr", "0.01", "--ema", "0",
    )  # fmt: skip
    first, second = launch(2, "-m", "zodi.cli", *map(str, arguments))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert len((output / "train.csv").read_text().splitlines()) == 1 + 3
    torch.manual_seed(0)
    net = build_net(architecture, encoder, 19, options={"dynamic_img_size": True} if options else {}).net
    trained = load_checkpoint(output).net.state_dict()
    same = {name for name, p in net.named_parameters() if torch.equal(p, trained[name])}
    assert any(name.startswith(unused) for name in same)
    changed = {name for name, _ in net.named_parameters()} - same
    assert len(changed) > 20
    assert not any(name.startswith(unused) for name in changed)


@pytest.mark.slow
def test_a_bad_file_that_one_process_meets_ends_both_and_saves_the_state(data, tmp_path):
    """The other one waits for nothing; then the file is mended and both go on."""
    order = epoch_order(0, 0, 7)
    image = data / f"images/a/{order[5]}.png"  # of the second process, in the third step
    content = image.read_bytes()
    image.write_bytes(content[: 2 * len(content) // 3])
    output = tmp_path / "out"
    arguments = ("-m", "zodi.cli", "adapt", "--source", data, "-o", output, "--device", "cpu", "--architecture", "fpn",
        "--encoder", "tu-resnet10t", "--encoder-weights", "none", "--size", "64x96", "--crop", "32x64",
        "--batch", "2", "--epochs", "2",
    )  # fmt: skip
    first, second = launch(2, *map(str, arguments), "--max-failures", "0")
    assert (first[0], second[0]) == (1, 1), first[2] + second[2]
    assert "zodi: another process could not read a batch: see its message" in first[2]
    assert f"zodi: {image}: " in second[2]
    assert torch.load(output / "state.pt")["step"] == 2
    image.write_bytes(content)
    for status, _, errors in launch(2, *map(str, arguments), "--allow-changed-files"):
        assert status == 0, errors
    assert len((output / "train.csv").read_text().splitlines()) == 1 + 6


@pytest.mark.slow
def test_a_share_of_void_alone_is_a_share_of_a_step(data, tmp_path):
    """A step is skipped where all processes have void alone, by all of them, or some would wait for ever."""
    for number in range(7):
        if number not in (0, 1):
            Image.fromarray(np.full((48, 96), 4, np.uint8)).save(data / f"labels/a/{number}.png")
    output = tmp_path / "out"
    arguments = ("-m", "zodi.cli", "adapt", "--source", data, "-o", output, "--device", "cpu", "--architecture", "fpn",
        "--encoder", "tu-resnet10t", "--encoder-weights", "none", "--size", "64x96", "--crop", "64x96",
        "--batch", "2", "--epochs", "3", "--json", tmp_path / "told.json",
    )  # fmt: skip
    for status, _, errors in launch(2, *map(str, arguments)):
        assert status == 0, errors
    void = [
        not {0, 1} & set(epoch_order(0, epoch, 7)[2 * step : 2 * step + 2]) for epoch in range(3) for step in range(3)
    ]
    assert 0 < sum(void) < 9
    rows = (output / "train.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [step + 1 for step, skipped in enumerate(void) if not skipped]
    assert json.loads((tmp_path / "told.json").read_text())["skipped"] == sum(void)
