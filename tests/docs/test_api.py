"""docs/api.md: its example runs as it stands, and its names are those of `zodi.api`."""

import re
from pathlib import Path

from zodi import api

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    assert "4 images in made" in printed
    assert re.search(r"mean IoU 0\.\d{3}", printed)
    assert len(list(Path("made/night").glob("*.png"))) == 4
    assert len(list(Path("predicted/labels").glob("*.png"))) == 4


def test_the_names_are_there():
    page = PAGE.read_text(encoding="utf-8")
    names = re.findall(r"`(\w+)\(", page)
    assert 12 <= len(names) <= 16
    for name in names:
        assert callable(getattr(api, name)), name
        assert name in api.__all__
    assert all(hasattr(api, name) and getattr(api, name).__doc__ for name in api.__all__)
