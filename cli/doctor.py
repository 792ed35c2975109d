"""`zodi doctor`: what is installed, what this machine can do, and what is missing."""

import sys
from typing import Any

import click

from zodi.cli.options import json_option, write_json


@click.command("doctor")
@json_option
def command(json_file: str | None) -> None:
    """Show versions, engines, what CPU and GPU can do, conflicts, and what to install for what is missing.

    The exit status is 1 if installed packages conflict.
    """
    from zodi.engines.diagnosis import diagnose

    report = diagnose()
    write_json(json_file, report)
    if json_file != "-":
        _print(report)
    if report["conflicts"]:
        sys.exit(1)


def _print(report: dict[str, Any]) -> None:
    click.echo(f"zodi {report['zodi']}, Python {report['python']}, {report['platform']}")
    cpu = report["cpu"]
    able = ", ".join(name for name in ("avx2", "avx512", "int8") if cpu[name]) or "no vector instructions known"
    lacks = "" if cpu["bf16"] else "; no engine executes bf16 here"
    click.echo(f"CPU: {cpu['name']}, {cpu['cores']} cores, {able}{lacks}")
    for gpu in report["gpus"]:
        click.echo(f"GPU: {gpu['name']}, {gpu['memory_gib']} GiB, compute capability {gpu['compute_capability']}")
    if not report["gpus"]:
        click.echo("GPU: none that CUDA sees")
    click.echo("\nEngines")
    for name, state in report["engines"].items():
        detail = ", ".join(state.get("providers") or state.get("devices") or [])
        if "cpu_precisions" in state:
            detail += f", on the CPU in {' and '.join(state['cpu_precisions'])}"
        if "builds_for" in state:
            detail = f"builds plans for compute capability {', '.join(state['builds_for'])}"
        click.echo(
            f"  {name:13}" + (f"not here: {state['error']}" if "error" in state else f"{state['version']} {detail}")
        )
    click.echo("\nPackages")
    for name, version in report["packages"].items():
        click.echo(f"  {name:29}{version or '-'}")
    for title, lines in (("Conflicts", report["conflicts"]), ("To install", report["missing"])):
        if lines:
            click.echo(f"\n{title}")
            for line in lines:
                click.echo(f"  {line}")
