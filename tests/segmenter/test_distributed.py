"""Two processes with half of the batch each train the same weights as one; with accelerate, over gloo."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOGETHER = """
import sys
from pathlib import Path
import torch
from torch import nn
from zodi.data import open_dataset
from zodi.segmenter.loading import SourceBatches
from zodi.segmenter.loop import fit
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.train import make_accelerator, source_loss

class Form:
    mean = std = (0.5, 0.5, 0.5)

torch.set_num_threads(1)
data, output = Path(sys.argv[1]), Path(sys.argv[2])
settings = TrainSettings(size=(48, 96), crop=(32, 64), epochs=2, batch=2, lr=0.1, optimizer="sgd", ema=0.9)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 19, 1))  # no batch norm, no dropout
accelerator = make_accelerator(settings, "cpu")
assert accelerator.num_processes == int(sys.argv[3])
batches = SourceBatches(
    open_dataset(None, data), settings, Form(),
    process=accelerator.process_index, processes=accelerator.num_processes,
)
output.mkdir(exist_ok=True)
weights = fit(net, source_loss, batches, settings, output, accelerator)
if accelerator.is_main_process:
    torch.save(weights, output / "weights.pth")
accelerator.end_training()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def train(data: Path, output: Path, processes: int) -> dict[str, torch.Tensor]:
    script = output.with_suffix(".py")
    script.write_text(TOGETHER)
    shared = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "ACCELERATE_USE_CPU": 1}
    running = []
    for rank in range(processes):
        own = {"RANK": rank, "LOCAL_RANK": rank, **shared} if processes > 1 else {}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in own.items()}}
        arguments = [sys.executable, str(script), str(data), str(output), str(processes)]
        running.append(subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return torch.load(output / "weights.pth")


@pytest.mark.slow
def test_two_processes_equal_one(data, tmp_path):
    one = train(data, tmp_path / "one", 1)
    two = train(data, tmp_path / "two", 2)
    assert len(one) == 4
    for name, weight in one.items():
        assert torch.allclose(two[name], weight, atol=1e-5), name
    torch.manual_seed(0)
    untrained = torch.nn.Conv2d(3, 8, 3, padding=1).weight
    assert not torch.allclose(one["0.weight"], untrained, atol=1e-2)  # else equality would mean little
    first, second = ((tmp_path / name / "train.csv").read_text().splitlines() for name in ("one", "two"))
    assert len(first) == len(second) == 1 + 6
