"""Runs on Ray: the stages as functions, then real clusters of one machine whose engines and drivers are killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import make_street
from runs import outcome

from zodi import __version__
from zodi.api import EngineChoice, ModelChoice, run_transfer
from zodi.data import open_dataset
from zodi.domains import PRESETS
from zodi.errors import DataError, EngineError, ModelError, OutputError, SettingsError
from zodi.recipe import Recipe, open_recipe, open_same
from zodi.transfer.items import Target
from zodi.transfer.settings import TransferSettings, settings_hash

ray = pytest.importorskip("ray")

NIGHT = PRESETS["night"]
SETTINGS = TransferSettings(batch=2, steps=4)


def transfer(root: Path, output: Path, model: Path, **more):
    settings = more.pop("settings", SETTINGS)
    return run_transfer(
        open_dataset("folder", root), output, [NIGHT], model=ModelChoice(str(model)), settings=settings, **more
    )


def test_without_the_package(cli, street, tmp_path, monkeypatch):
    for name in ("zodi.transfer.ray", "zodi.transfer.ray_stages"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    result = cli("transfer", "--root", street, "-o", tmp_path / "out", "--ray", "local")
    assert (result.status, result.stderr) == (1, "zodi: --ray needs the package ray: pip install 'zodi[ray]'\n")


def test_what_cannot_be_asked_for(cli, tiny_model, street, tmp_path):
    wrong = cli("transfer", "--root", street, "-o", tmp_path / "out", "--ray", "local", "--dry-run")
    assert (wrong.status, "leave out --ray" in wrong.stderr) == (2, True)
    with pytest.raises(SettingsError, match="allowed are local and HOST:PORT"):
        transfer(street, tmp_path / "out", tiny_model, ray="ray://head:10001")
    with pytest.raises(SettingsError, match="allowed are auto, cpu and cuda"):
        transfer(street, tmp_path / "out", tiny_model, ray="local", engine=EngineChoice(device="cuda:1"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EngineError, match=rf"{address}: cannot be reached"):
            transfer(street, tmp_path / "out", tiny_model, ray=address)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def setup(tiny_model, street, tmp_path):
    """What a run of the street sends to its processes; its output is there, as the driver leaves it."""
    from zodi.transfer.ray_stages import Setup

    dataset, output = open_dataset("folder", street), tmp_path / "out"
    recipe = Recipe((NIGHT,), ModelChoice(str(tiny_model)), EngineChoice(), SETTINGS, dataset.label_set)
    with open_recipe(recipe, output) as opened:
        described, files, info = opened.described, opened.files, opened.transfer.info
    output.mkdir()
    (output / "run.json").write_text("{}")
    return Setup(
        dataset=replace(dataset, samples=()),
        output=output,
        info=info,
        settings=SETTINGS,
        targets=(Target("night", settings_hash(described["night"])),),
        open=partial(open_same, recipe, described, files),
    )


def through(setup, samples, version=__version__):
    """Samples through the three stages, in this process; returns the messages that the driver would get."""
    import pickle

    from zodi.transfer.ray_stages import EngineStage, load_stage, pack, unpack, write_stage

    content = pickle.dumps(setup)
    engine = EngineStage(version, content)
    loaded = load_stage(pack([(sample, []) for sample in samples]), version, content)
    tables = [written for table in loaded for done in engine(table) for written in write_stage(done, version, content)]
    return [message for table in tables for message in unpack(table)]


def test_the_stages_make_what_a_local_run_makes(setup, street, tiny_model, tmp_path):
    (street / "images/a/2.png").write_bytes(b"no image")
    messages = through(setup, open_dataset("folder", street).samples)
    transfer(street, tmp_path / "here", tiny_model)
    assert [(row.key, row.status) for row in messages] == [("a/0", "ok"), ("a/1", "ok"), ("a/2", "failed")]
    for name in ("night/a/0.png", "night/a/1.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


@pytest.mark.parametrize(
    ("samples", "image_size", "engines", "expected"),
    [
        (7, 128, 1, 4),
        (160, 128, 1, 20),
        (160, 128, 2, 8),
        (10**5, 128, 1, 144),
        (10**4, 512, 1, 8),
        (10**4, 2048, 1, 4),
    ],
)
def test_blocks_are_few_but_fit_and_all_engines_have_some(samples, image_size, engines, expected):
    from zodi.transfer.ray import Cluster, block_size

    assert block_size(samples, 4, image_size, Cluster("cpu", engines, 1, {}, 1.0)) == expected


def test_a_node_that_is_not_as_the_driver(setup, street, tmp_path):
    samples = open_dataset("folder", street).samples
    (error, *_) = through(setup, samples, version="9.9.9")
    assert isinstance(error, EngineError)
    assert f"has zodi {__version__}, the run is zodi 9.9.9's: install that on every node" in str(error)
    (error, *_) = through(replace(setup, output=tmp_path / "elsewhere"), samples)
    assert isinstance(error, OutputError) and "does not see the output" in str(error)
    gone = replace(setup.dataset, root=tmp_path / "gone")
    (error, *_) = through(replace(setup, dataset=gone), samples)
    assert isinstance(error, DataError) and "does not see the data set" in str(error)

    recipe, described, files = setup.open.args
    no_bundle = replace(recipe, engine=EngineChoice("ort", bundle=tmp_path / "no-bundle"))
    (error, *_) = through(replace(setup, open=partial(open_same, no_bundle, described, files)), samples)
    assert isinstance(error, ModelError) and "there is none in" in str(error) and "zodi export-engines" in str(error)
    other = {"night": {**described["night"], "model_hash": "0"}}
    (error, *_) = through(replace(setup, open=partial(open_same, recipe, other, files)), samples)
    assert isinstance(error, ModelError) and "model_hash is" in str(error)
    (error, *_) = through(replace(setup, open=partial(open_same, recipe, described, {"denoiser.onnx": "1"})), samples)
    assert isinstance(error, ModelError) and "denoiser.onnx is None here, '1' where the run was started" in str(error)


def engines(driver: int) -> list[int]:
    """Process ids of the engines that a driver's local Ray runs."""
    listing = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    parents, found = {}, []
    for pid, parent, command in (line.split(None, 2) for line in listing.splitlines()[1:]):
        parents[int(pid)] = int(parent)
        if command.startswith("ray::") and "EngineStage" in command:
            found.append(int(pid))

    def below(pid: int) -> bool:
        return pid == driver or (pid in parents and below(parents[pid]))

    return [pid for pid in found if below(pid)]


def wait_for(condition, seconds: float = 1500.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_engines_one_of_which_is_killed(tiny_model, tmp_path):
    root = make_street(tmp_path / "in", count=24)
    settings = TransferSettings(batch=2, steps=20)
    output, killed = tmp_path / "ray", []

    def kill() -> None:
        wait_for(lambda: len(list(output.rglob("*.png"))) >= 3)
        killed.append(engines(os.getpid())[0])
        os.kill(killed[0], signal.SIGKILL)
        killed.append(len(list(output.rglob("*.png"))))

    killer = threading.Thread(target=kill)
    killer.start()
    result = transfer(root, output, tiny_model, settings=settings, ray="local", workers=2)
    killer.join()
    assert killed[1] < 24
    assert (result.progress.done, result.progress.failed) == (24, 0)
    transfer(root, tmp_path / "here", tiny_model, settings=settings)
    assert outcome(output) == outcome(tmp_path / "here")
    assert len(outcome(output)) == 24 + 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_driver(tiny_model, tmp_path):
    root, output = make_street(tmp_path / "in", count=24), tmp_path / "ray"
    command = [sys.executable, "-m", "zodi.cli", "transfer", "--root", root, "--model", tiny_model, "-o", output]
    command += ["--batch", "2", "--ray", "local"]
    with subprocess.Popen(command) as driver:
        manifest = output / "manifest.jsonl"  # rows follow their files: what is on disk alone may be made again
        wait_for(lambda: manifest.is_file() and len(manifest.read_bytes().splitlines()) >= 4)
        left = engines(driver.pid)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    assert left
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))  # they notice that they are alone
    settings = TransferSettings(batch=2)
    resumed = transfer(root, output, tiny_model, settings=settings, ray="local", workers=2).progress
    assert resumed.skipped + resumed.done == 24
    assert 0 < resumed.skipped < 24
    transfer(root, tmp_path / "here", tiny_model, settings=settings)
    assert outcome(output) == outcome(tmp_path / "here")


@contextmanager
def cluster(environment: dict[str, str], folder: Path):
    """The address of a cluster of one node whose processes have an environment of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("ray")
    command = [program, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false",
               "--object-store-memory=200000000", "--disable-usage-stats"]  # fmt: skip
    with subprocess.Popen(command, env={**os.environ, **environment}, cwd=folder, stdout=subprocess.DEVNULL) as head:
        try:
            wait_for(lambda: answers(port))
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_another_version_on_a_node(tiny_model, street, tmp_path):
    package = tmp_path / "other" / "zodi"
    package.mkdir(parents=True)
    here = Path(sys.modules["zodi"].__file__).parent
    for part in here.iterdir():
        if part.name != "__init__.py":
            (package / part.name).symlink_to(part.resolve())
    (package / "__init__.py").write_text('__version__ = "9.9.9"\n')
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
    }  # else earlier runs here decide whether it asks for a token
    command = [sys.executable, "-m", "zodi.cli", "transfer", "--root", street, "--model", tiny_model]
    command += ["-o", tmp_path / "out", "--ray"]
    with cluster({**environment, "PYTHONPATH": str(tmp_path / "other")}, tmp_path) as address:
        # from another folder than the checkout: Ray's processes look into the driver's first
        result = subprocess.run([*command, address], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, f"has zodi 9.9.9, the run is zodi {__version__}'s" in result.stderr) == (1, True)
    assert "Traceback" not in result.stderr
