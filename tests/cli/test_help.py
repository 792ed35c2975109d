"""Help is fast because it imports nothing heavy; exit statuses are what scripts expect."""

import subprocess
import sys

import click
import pytest

from zodi.cli.__main__ import COMMANDS, zodi

HEAVY = ("torch", "numpy", "PIL", "onnx", "onnxruntime", "transformers", "diffusers", "scipy", "matplotlib", "openvino")

PROBE = """
import sys
sys.argv = ["zodi", *{arguments!r}]
from zodi.cli.__main__ import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
print("HEAVY", [name for name in {heavy!r} if name in sys.modules])
"""


def commands() -> list[list[str]]:
    """Every command and sub-command by its words."""
    found: list[list[str]] = [[]]
    context = click.Context(zodi)
    for name in zodi.list_commands(context):
        command = zodi.get_command(context, name)
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, sub] for sub in command.list_commands(context)]
    return found


def test_there_are_commands():
    assert len(commands()) > len(COMMANDS) >= 3


@pytest.mark.parametrize("words", commands(), ids=lambda words: "-".join(words) or "zodi")
def test_help_imports_nothing_heavy(words):
    code = PROBE.format(arguments=[*words, "--help"], heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Usage: zodi" in result.stdout
    assert result.stdout.rstrip().endswith("HEAVY []"), result.stdout[-200:]


def test_python_m_works():
    result = subprocess.run([sys.executable, "-m", "zodi.cli", "--version"], capture_output=True, text=True)
    assert (result.returncode, result.stdout.startswith("zodi, version ")) == (0, True)


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["transfer", "--nonsense"], ["transfer"], ["transfer", "--batch", "x"]]
)
def test_wrong_usage_exits_2(arguments):
    result = subprocess.run([sys.executable, "-m", "zodi.cli", *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_every_command_says_what_it_does():
    context = click.Context(zodi)
    for name, (_, line) in COMMANDS.items():
        command = zodi.get_command(context, name)
        assert command is not None and command.help, name
        assert line.endswith(".")
