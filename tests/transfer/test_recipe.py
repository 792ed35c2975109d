"""A recipe that other processes read: its paths hold in any working directory, names stay names."""

from pathlib import Path

from zodi.domains import PRESETS
from zodi.labels import CITYSCAPES_19
from zodi.opening import EngineChoice, ModelChoice
from zodi.recipe import Recipe, absolute
from zodi.transfer.settings import TransferSettings


def recipe(model: str, controlnet: str | None = None) -> Recipe:
    return Recipe(
        (PRESETS["night"],), ModelChoice(model, controlnet), EngineChoice(), TransferSettings(), CITYSCAPES_19
    )


def test_directories_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sd15", "seg"):
        Path(name).mkdir()
    found = absolute(recipe("sd15", "seg")).model
    assert (found.model, found.controlnet) == (str(tmp_path / "sd15"), str(tmp_path / "seg"))


def test_names_stay_beside_a_folder_of_the_same_name(tmp_path, monkeypatch):
    """`town` is the bundled model, as without Ray, also where the data set's folder is called so."""
    monkeypatch.chdir(tmp_path)
    Path("town").mkdir()
    assert absolute(recipe("town")).model.model == "town"
    assert absolute(recipe("someone/model")).model.model == "someone/model"
