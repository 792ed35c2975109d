"""The tree is what setup.cfg says, and installs need nothing else."""

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("cli", "engines", "export")


def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def packages_on_disk() -> set[str]:
    found = {"zodi" if d == ROOT / "zodi" else f"zodi.{d.name}" for d in (ROOT / "zodi", *(ROOT / "zodi").iterdir())
             if d.is_dir() and any(d.glob("*.py"))}  # fmt: skip
    return found | {f"zodi.{name}" for name in LINKED}


def test_every_package_is_listed():
    listed = set(config()["options"]["packages"].split())
    assert listed == packages_on_disk()
    assert all((ROOT / "zodi" / name.split(".")[-1] / "__init__.py").is_file() for name in listed - {"zodi"})


@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative_and_committed(name):
    link = ROOT / "zodi" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"
    mapping = dict(line.split(" = ") for line in config()["options"]["package_dir"].strip().splitlines())
    assert mapping[f"zodi.{name}"] == name


def test_the_method_knows_no_runtime():
    """The method's parts import no exporter and no command, transfer and data no engine; engines import neither."""
    imports = {
        path: path.read_text(encoding="utf-8")
        for folder in ("zodi/transfer", "zodi/data", "zodi/segmenter", "zodi/adapt", "engines", "export")
        for path in (ROOT / folder).glob("*.py")
    }
    assert len(imports) > 20
    forbidden = {"zodi/transfer": ("engines", "export", "cli"), "zodi/data": ("engines", "export", "cli", "transfer"),
                 "zodi/segmenter": ("export", "cli", "adapt"), "zodi/adapt": ("export", "cli"),
                 "engines": ("export", "transfer", "cli"), "export": ("transfer", "data", "cli")}  # fmt: skip
    for path, text in imports.items():
        for name in forbidden.get(path.parent.relative_to(ROOT).as_posix(), ()):
            assert f"from zodi.{name}" not in text, f"{path} imports zodi.{name}"
            assert f"import zodi.{name}" not in text, f"{path} imports zodi.{name}"
