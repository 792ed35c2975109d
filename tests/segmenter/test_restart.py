"""A training that begins again: what is there stays until the new checkpoint is whole, whatever happens before."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_street
from interrupt import Killed, kill_after

from zodi.data import open_dataset
from zodi.errors import ModelError, OutputError, SettingsError
from zodi.segmenter.checkpoint import load_checkpoint
from zodi.segmenter.place import Place
from zodi.segmenter.train import train

STEPS = 6


def run(data, output, settings, **options):
    return train(open_dataset(None, data), output, settings, device="cpu", **options)


def files(directory: Path) -> dict[str, bytes]:
    """The content of all files of a directory, by their path in it."""
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def kill_before(change: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process die before it moves or removes its n-th file from now on; 0 is the first."""
    left = change

    def dying(original):
        def change(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return original(*arguments, **options)

        return change

    for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "unlink"), (os, "rmdir")):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


@pytest.fixture(scope="module")
def place(tmp_path_factory, quick):
    """Data, a finished training of it, and one with another learning rate."""
    place = tmp_path_factory.mktemp("restart")
    data = make_street(place / "data", count=7)
    run(data, place / "old", quick)
    run(data, place / "new", replace(quick, lr=2e-3))
    return place


@pytest.fixture
def output(place, tmp_path):
    """A copy of the finished training."""
    return shutil.copytree(place / "old", tmp_path / "output")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"architecture": "deplab"}, ModelError),
        ({"encoder": "tu-test_efficientnt"}, ModelError),
        ({"encoder_weights": "/nowhere.pth"}, ModelError),
        ({"options": {"decoder_width": 3}}, ModelError),
        ({"crop": (40, 64)}, SettingsError),
        ({"crop": (64, 96)}, SettingsError),
        ({"batch": 8}, SettingsError),
        ({"batch": 1}, SettingsError),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_restart_that_cannot_be_leaves_everything(place, quick, output, wrong, error):
    before = files(output)
    with pytest.raises(error):
        run(place / "data", output, replace(quick, **wrong), restart=True)
    assert files(output) == before


def test_a_restart_from_a_missing_checkpoint_leaves_everything(place, quick, output, tmp_path):
    before = files(output)
    with pytest.raises(ModelError, match="nothing: is no checkpoint"):
        run(place / "data", output, quick, restart=True, init=tmp_path / "nothing")
    assert files(output) == before


@pytest.mark.parametrize("step", [1, 4, STEPS])
def test_the_old_checkpoint_stays_until_the_new_one_is_whole(place, quick, output, step):
    before = files(output)
    (output / "confusion.png").write_bytes(b"of the old one")
    settings = replace(quick, lr=2e-3)
    with pytest.raises(Killed):
        run(place / "data", output, settings, restart=True, save_every=2, stopped=kill_after(step))
    assert {name: content for name, content in files(output).items() if name in before} == before
    load_checkpoint(output)
    assert run(place / "data", output, settings, save_every=2).finished  # the same command, without --restart
    assert files(output) == files(place / "new")


def test_the_old_settings_are_still_finished_while_the_new_ones_are_not(place, quick, output):
    with pytest.raises(Killed):
        run(place / "data", output, replace(quick, lr=2e-3), restart=True, save_every=1, stopped=kill_after(3))
    before = files(output)
    assert run(place / "data", output, quick).finished
    assert files(output) == before
    with pytest.raises(OutputError, match=r"other settings \(lr: "):
        run(place / "data", output, replace(quick, lr=3e-3))


def test_an_unfinished_training_stays_too(place, quick, tmp_path):
    output = tmp_path / "output"
    with pytest.raises(Killed):
        run(place / "data", output, quick, save_every=1, stopped=kill_after(5))
    state = (output / "state.pt").read_bytes()
    with pytest.raises(ModelError):
        run(place / "data", output, replace(quick, architecture="deplab"), restart=True)
    with pytest.raises(Killed):
        run(place / "data", output, replace(quick, lr=2e-3), restart=True, save_every=1, stopped=kill_after(3))
    assert (output / "state.pt").read_bytes() == state
    run(place / "data", output, quick)  # whoever thinks better of it goes on with the first
    assert (output / "model.safetensors").read_bytes() == (place / "old/model.safetensors").read_bytes()


def test_a_second_restart_keeps_the_first_ones_state_until_it_has_one(place, quick, output):
    def cut(lr, step):
        with pytest.raises(Killed):
            run(place / "data", output, replace(quick, lr=lr), restart=True, save_every=1, stopped=kill_after(step))
        return {json.loads(p.with_name("train.json").read_text())["settings"]["lr"] for p in output.rglob("state.pt")}

    assert cut(2e-3, 4) == {2e-3}
    assert cut(3e-3, 1) == {2e-3}
    assert cut(3e-3, 2) == {3e-3}
    assert run(place / "data", output, replace(quick, lr=3e-3)).finished
    assert sorted(files(output)) == sorted(files(place / "new"))


def test_stopped_while_it_takes_the_old_ones_place(place, quick, output, monkeypatch):
    """At every file that is moved, removed or written then: the next call ends what was begun."""
    settings = replace(quick, lr=2e-3)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill = kill_after(1)
        patched.setattr(Place, "take_over", lambda place: kill())
        run(place / "data", output, settings, restart=True)
    (output / "validation.csv").write_text("step,miou\n3,0.5\n")  # of the old one
    begun, changes = shutil.copytree(output, output.with_name("begun")), 0
    while True:
        try:
            with monkeypatch.context() as patched:
                kill_before(changes, patched)
                Place(output, output / "restarted-1", True).take_over()
            break
        except Killed:
            assert run(place / "data", output, settings).finished
            assert files(output) == files(place / "new"), changes
        shutil.rmtree(output)
        shutil.copytree(begun, output)
        changes += 1
    assert files(output) == files(place / "new")
    assert changes > 10


# --- the first weights


def test_first_weights_are_not_those_that_are_replaced(place, quick, output, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(output)
    (tmp_path / "of links").mkdir()
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "of links" / name).symlink_to(output / name)
    before = files(output)
    monkeypatch.chdir(tmp_path)
    for spelling in (
        output,
        Path("output"),
        tmp_path / "x" / ".." / "output",
        tmp_path / "link",
        tmp_path / "of links",
    ):
        for options in ({}, {"restart": True}):
            with pytest.raises(SettingsError, match=r"--init .* another -o"):
                run(place / "data", output, replace(quick, lr=2e-3), init=spelling, **options)
    with pytest.raises(SettingsError, match=r"--init .* another -o"):
        run(place / "data", tmp_path / "link", quick, init=output, restart=True)
    assert files(output) == before


def test_training_longer_is_a_new_training_from_the_old_weights(place, quick, output, tmp_path):
    longer = replace(quick, epochs=4)
    with pytest.raises(OutputError, match=rf"epochs: 2 there, 4 now\): .*--init {output} and another -o"):
        run(place / "data", output, longer)
    assert run(place / "data", tmp_path / "longer", longer, init=output).steps == 2 * STEPS
    still = replace(longer, lr=1e-9, lr_floor=0.0, weight_decay=0.0, ema=0.0)
    run(place / "data", tmp_path / "still", still, init=output)
    first, second = (load_checkpoint(path).net for path in (output, tmp_path / "still"))
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


def test_an_unfinished_training_is_finished_before_it_gets_longer(place, quick, tmp_path):
    output = tmp_path / "output"
    with pytest.raises(Killed):
        run(place / "data", output, quick, save_every=1, stopped=kill_after(5))
    with pytest.raises(OutputError, match=r"epochs: 2 there, 4 now\): finish it with epochs 2.*then .*--init"):
        run(place / "data", output, replace(quick, epochs=4))
