"""`--config FILE.toml`: options of a command in a file; what is on the command line counts more."""

import json
from pathlib import Path
from typing import Any

import click

from zodi.cli.options import Command

LEFT_OUT = ("config", "json_file", "restart", "allow_changed_files")  # belong to one call, not to what is to be done


def config_option(command: Command) -> Command:
    """Adds `--config`; it is read before the other options, whose defaults it replaces."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="Options by their names, e.g. batch = 4; those of the command line count more.",
    )(command)


def write_config(path: Path) -> None:
    """Write the options of the running command, as they are in effect, so that `--config` reads them."""
    from zodi.files import utf8, write_atomic

    context = click.get_current_context()
    lines = [f"# zodi {context.info_name} --config {path.name}"]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if option.name in LEFT_OUT or value is None or value == ():
            continue
        several = isinstance(option, click.Option) and option.multiple
        text = f"[{', '.join(_toml(item) for item in value)}]" if several else _toml(value)
        lines.append(f"{_key(option)} = {text}")
    write_atomic(path, utf8("\n".join(lines) + "\n"))


def _read(context: click.Context, param: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"--config {path}: cannot be read ({error}).", context) from None
    known = {_key(option): option for option in context.command.params if option.name not in LEFT_OUT}
    unknown = next((key for key in table if key not in known), None)
    if unknown is not None:
        raise click.UsageError(
            f"--config {path}: unknown option {unknown!r}: allowed are {', '.join(sorted(known))}.", context
        )
    context.default_map = {str(known[key].name): value for key, value in table.items()}


def _key(option: click.Parameter) -> str:
    """The long name of an option without its dashes, e.g. "save-every"."""
    return max(option.opts, key=len).lstrip("-")


def _toml(value: Any) -> str:
    """A value as TOML writes it; sizes and NAME=VALUE pairs as the command line does."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return json.dumps(f"{value[0]}x{value[1]}")
    if isinstance(value, tuple) and all(isinstance(number, float) for number in value):
        return json.dumps(",".join(map(str, value)))
    if isinstance(value, tuple):
        return json.dumps(f"{value[0]}={json.dumps(value[1])}")
    return json.dumps(str(value), ensure_ascii=False)
