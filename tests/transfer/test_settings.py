"""What decides the pixels: settings of the run, of the domain and of the model."""

import json
import shutil

from zodi.domains import PRESETS
from zodi.engines.components import load_components
from zodi.model import ModelInfo
from zodi.transfer.settings import TransferSettings


def test_guidance_is_the_runs_else_the_models_for_the_domain_else_the_models(tiny_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    table = json.loads((model / "zodi.json").read_text())
    (model / "zodi.json").write_text(json.dumps(table | {"guidance": 4, "domain_guidance": {"fog": 6}}))
    info = load_components(str(model)).info
    assert ModelInfo.from_json(json.loads(json.dumps(info.to_json()))) == info  # as a bundle keeps it
    settings = TransferSettings(steps=4)
    assert [settings.sampling(PRESETS[name], info).guidance for name in ("fog", "night")] == [6, 4]
    assert settings.describe(PRESETS["fog"], info, {})["guidance"] == 6
    assert TransferSettings(steps=4, guidance=3).sampling(PRESETS["fog"], info).guidance == 3
