"""Nothing is sent: no file of a usage report is left, no host is looked up, whatever zodi imports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = "connect,sendto,sendmsg,sendmmsg"
NEEDED = {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


def run(home: Path, *command: object, trace: Path | None = None) -> None:
    """Run Python in an empty home and environment: runtimes send nothing where a variable says that this is CI."""
    environment = {k: v for k, v in os.environ.items() if k in NEEDED}
    watched = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace)] if trace else []
    done = subprocess.run(
        [*watched, sys.executable, *map(str, command)],
        env=environment | {"HOME": str(home)}, cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def traces_work() -> bool:
    return (
        bool(shutil.which("strace")) and not subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode
    )


SESSION = "import onnxruntime; onnxruntime.InferenceSession({path!r})"
LEFT_ON = "import os; os.environ.pop('ORT_DISABLE_TELEMETRY', None);" + SESSION
THROUGH_ZODI = "import time, zodi, albumentations;" + SESSION + "; time.sleep(1)"


@pytest.mark.parametrize("what", ["predict.onnx", "predict.xml", "doctor", "library"])
def test_nothing_is_sent_or_left(what, exported, openvino_file, street_set, home, tmp_path):
    picture = street_set.samples[0].image
    commands = {
        "predict.onnx": ("-m", "zodi.cli", "predict", exported / "model.onnx", picture, "-o", tmp_path / "out"),
        "predict.xml": ("-m", "zodi.cli", "predict", openvino_file, picture, "-o", tmp_path / "out"),
        "doctor": ("-m", "zodi.cli", "doctor"),
        "library": ("-c", THROUGH_ZODI.format(path=str(exported / "model.onnx"))),
    }
    trace = tmp_path / "trace" if traces_work() else None
    run(home, *commands[what], trace=trace)
    assert [path for path in home.rglob("*") if "icrosoft" in str(path) or "intel" in path.parts] == []
    if trace is None:
        pytest.skip("strace cannot be used here: only the files were looked for")
    internet = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    assert internet == []


def test_what_is_looked_for_would_be_found(exported, home):
    """A runtime whose switch is left alone leaves its device id; else this test would say nothing."""
    run(home, "-c", LEFT_ON.format(path=str(exported / "model.onnx")))
    assert list(home.rglob("deviceid")), "then onnxruntime needs no switch any more"
