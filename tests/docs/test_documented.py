"""What README and docs show exists: every command line parses, every configuration file is taken."""

import re
import shlex
from pathlib import Path

import click
import pytest

from zodi.cli.__main__ import COMMANDS, zodi
from zodi.domains import find_domain

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block in a language."""
    return [
        (p.name, text) for p in PAGES for kind, text in BLOCK.findall(p.read_text(encoding="utf-8")) if kind == language
    ]


def command_lines() -> list[tuple[str, list[str]]]:
    """(page, words) of every `zodi` command in the pages' shell blocks."""
    found = []
    for page, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["zodi"]:
                found.append((page, words[1:]))
    return found


def test_the_pages_are_found():
    assert {"README.md", "transfer.md", "data.md", "architecture.md"} <= {page.name for page in PAGES}
    assert len(command_lines()) >= 10


@pytest.mark.parametrize(("page", "words"), command_lines(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_documented_command_parses(page, words):
    group: click.Command = zodi
    context = click.Context(zodi, info_name="zodi")
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        command = group.get_command(context, words[0])
        assert command is not None, f"{page}: no such command: {words[0]}"
        group, words = command, words[1:]
        if any(word in (group.commands if isinstance(group, click.Group) else ()) for word in words[:1]):
            continue
        break
    group.make_context(group.name, list(words), parent=context)


def test_what_needs_no_download_runs_as_the_readme_says(cli, tmp_path, monkeypatch):
    (block,) = [text for page, text in blocks("sh") if page == "README.md" and "zodi data town" in text]
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        done = cli(*shlex.split(line)[1:])
        assert done.status == 0, done.stderr
    assert len(list(tmp_path.glob("town-night/night/*.png"))) == 8
    assert (tmp_path / "sheet.png").is_file()


def test_every_command_is_documented():
    shown = {words[0] for _, words in command_lines()}
    assert set(COMMANDS) <= shown


def test_documented_domains_are_taken(tmp_path):
    texts = [text for _, text in blocks("toml") if "prompt" in text]
    assert len(texts) >= 2
    for text in texts:
        path = tmp_path / "own.toml"
        path.write_text(text)
        assert find_domain(str(path)).prompt == "driving at dusk"


def test_pages_link_to_what_is_there():
    links = [
        (p, t) for p in PAGES for t in re.findall(r"\]\(([^)#]+)", p.read_text(encoding="utf-8")) if "://" not in t
    ]
    assert len(links) >= 4
    for page, target in links:
        assert (page.parent / target).exists(), f"{page.name}: {target}"
