"""`zodi engines`: look into a bundle, and verify one."""

import sys
from pathlib import Path
from typing import Any

import click

from zodi.cli.options import json_option, write_json


@click.group()
def command() -> None:
    """Look into the files that engines run from."""


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def inspect(directory: Path, json_file: str | None) -> None:
    """Show what the bundle in DIRECTORY is made of, and the engines it was tried on."""
    from zodi.engines.bundle import read_bundle

    table = read_bundle(directory).to_json()
    write_json(json_file, table)
    if json_file == "-":
        return
    model = table["model"]
    click.echo(
        f"{directory}: {model['name']}, weights {model['hash'][:16]}, {table['precision']}, zodi {table['zodi']}"
    )
    for name, (low, usual, high) in table["sizes"].items():
        click.echo(f"  {name}: " + (f"{low}" if low == high else f"{low} to {high}, usually {usual}"))
    for name, graph in table["graphs"].items():
        identity = graph["identity"]
        click.echo(f"{name}: {identity['precision']}, opset {identity['opset']}, {identity['exporter']}")
        for port, shape in identity["ports"].items():
            click.echo(f"  {port}: {shape}")
        click.echo(f"  {_parity(graph['parity'])}")
    for name, plan in table["plans"].items():
        gpus = plan["gpu"] or f"compute capability {', '.join(plan['compute_capability'])}"
        click.echo(
            f"plan of {name}: {plan['precision']}, {plan['product']} {plan['version']}, {plan['os']}, for {gpus}"
        )
    for name, state in table["engines"].items():
        click.echo(f"engine {name} {state['version'] or ''} {state['precision']} on {state['gpu'] or state['device']}")


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(["ort", "openvino", "trt"]),
    help="Compute with it, too; may be repeated. [default: every one that is installed]",
)
@json_option
def verify(directory: Path, engines: tuple[str, ...], json_file: str | None) -> None:
    """Check every file of the bundle in DIRECTORY, and that the engines compute what PyTorch computed.

    The exit status is 1 if anything is wrong.
    """
    from zodi.api import verify_engines

    report = verify_engines(directory, engines)
    write_json(json_file, report)
    if json_file != "-":
        _print_report(report)
    if report["problems"]:
        sys.exit(1)


def _print_report(report: dict[str, Any]) -> None:
    click.echo(f"{report['files']} files, {len(report['graphs'])} graphs")
    for name, state in report["engines"].items():
        click.echo(f"{name} {state['precision']} on {state['device']}")
        for graph, rows in state["parity"].items():
            click.echo(f"  {graph}: {_parity(rows)}")
    for name, reason in report["skipped"].items():
        click.echo(f"{name}: skipped, {reason}")
    for problem in report["problems"]:
        click.echo(f"problem: {problem}", err=True)
    click.echo(f"{len(report['problems'])} problems" if report["problems"] else "no problems")


def _parity(rows: list[dict[str, Any]]) -> str:
    worst = max(rows, key=lambda row: row["error"] / row["allowed"])
    return f"error {worst['error']:.1e} of the spread at {len(rows)} sizes, allowed {worst['allowed']:.1e}"
