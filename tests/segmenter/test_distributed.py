"""Two processes with half of the batch each train the same weights as one; with accelerate, over gloo."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from synthetic import make_synthetic

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


def train(data: Path, output: Path, processes: int, *synthetic: Path) -> dict[str, torch.Tensor]:
    script = output.with_suffix(".py")
    script.write_text(TOGETHER)
    shared = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "ACCELERATE_USE_CPU": 1}
    running = []
    for rank in range(processes):
        own = {"RANK": rank, "LOCAL_RANK": rank, **shared} if processes > 1 else {}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in own.items()}}
        arguments = [sys.executable, str(script), str(data), str(output), str(processes), *map(str, synthetic)]
        running.append(subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
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
