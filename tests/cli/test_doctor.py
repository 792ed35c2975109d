import json

from click.testing import CliRunner

from zodi.cli.doctor import command
from zodi.engines.diagnosis import INSTALL, _conflicts, diagnose


def test_prints_what_json_holds():
    shown = CliRunner().invoke(command, [])
    report = json.loads(CliRunner().invoke(command, ["--json", "-"]).output)
    assert shown.exit_code == (1 if report["conflicts"] else 0)
    for name, version in report["packages"].items():
        assert name in shown.output
        assert version is None or version in shown.output
    assert report["engines"]["torch"]["version"] in shown.output
    assert report["cpu"]["cores"] >= 1


def test_missing_engines_are_named_with_what_to_install():
    report = diagnose()
    for name, state in report["engines"].items():
        if "error" in state:
            assert INSTALL[name] in report["missing"]
    assert "CPUExecutionProvider" in report["engines"]["onnxruntime"]["providers"]


def test_conflicts():
    assert _conflicts({"onnxruntime", "torch"}) == []
    both = _conflicts({"onnxruntime", "onnxruntime-gpu"})
    assert len(both) == 1 and "uninstall" in both[0]
    mixed = _conflicts({"nvidia-cublas-cu12", "nvidia-cublas-cu13"})
    assert len(mixed) == 1 and "CUDA 12" in mixed[0]
