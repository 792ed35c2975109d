"""`zodi demo`: the whole story on the street world, by the commands that a user would give, and a page about it."""

import json
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from zodi.cli.options import json_option, write_json

NET = (
    "--architecture", "deeplabv3plus", "--encoder", "tu-resnet10t", "--encoder-weights", "none",
    "--net-option", "decoder_channels=128", "--size", "128x256", "--crop", "96x192",
)  # fmt: skip
ROWS = {  # name -> what of `zodi adapt` makes it, with OUT for the folder
    "source-only": ("--baseline", "source-only"),
    "augment": ("--baseline", "augment"),
    "adapted": ("--synthetic", "OUT/transferred"),
}


@dataclass(frozen=True)
class Plan:
    """How much is done: source scenes, target scenes, training steps of so many pairs at a learning rate.

    Small batches: at equal work, 600 steps of 4 pairs bring 2 points more than 300 of 8 (docs/adapt.md).
    """

    scenes: int
    target_scenes: int
    iterations: int
    batch: int
    lr: float


PLANS = {"full": Plan(300, 80, 500, 4, 2e-3), "quick": Plan(12, 8, 8, 4, 2e-3)}


@dataclass(frozen=True)
class Step:
    """One command, and what it is for."""

    title: str
    arguments: tuple[str, ...]

    @property
    def line(self) -> str:
        """As it is typed."""
        return shlex.join(["zodi", *self.arguments])


@click.command("demo")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, metavar="DIR",
    help="Where everything goes; a demo that was broken off goes on.",
)  # fmt: skip
@click.option("--domain", default="night", show_default=True, help="What to adapt to: night, snow, rain, fog, game.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 1000), help="Of scenes and training.")
@click.option("--quick", is_flag=True, help="A few images and steps: shows that it runs, not that it helps.")
@json_option
def command(output: Path, domain: str, seed: int, quick: bool, json_file: str | None) -> None:
    """Show what zodi does, in some minutes and without a download, on a rendered street world.

    Labelled clear scenes are repainted by the bundled diffusion model; segmenters are trained without and with the
    results and scored on scenes that were rendered in the target domain; the best is exported. Ends with a page.
    """
    from zodi.domains import PRESETS

    if domain not in PRESETS:
        raise click.BadParameter(f"{domain!r} is not one of {', '.join(PRESETS)}", param_hint="--domain")

    from zodi.api import demo_page
    from zodi.engines.choice import choose_engine
    from zodi.engines.devices import bf16_is_faster
    from zodi.files import write_atomic

    start = time.monotonic()
    plan = PLANS["quick" if quick else "full"]
    steps = make_steps(output, domain, seed, plan, bundle=choose_engine("auto") != "torch", half=bf16_is_faster())
    seconds = 0.0
    for number, step in enumerate(steps, start=1):
        click.secho(f"[{number}/{len(steps)}] {step.title}", bold=True, err=True)
        click.echo(f"$ {step.line}", err=True)
        seconds += run_step(output / "steps" / f"{number:02d}.json", step)
    content = demo_page(
        output, output / "report.html", domain=domain, seed=seed, rows=list(ROWS), quick=quick,
        commands=[step.line for step in steps],
    )  # fmt: skip
    content = {"seconds": round(seconds, 1), **content}
    write_atomic(output / "demo.json", (json.dumps(content, indent=2) + "\n").encode())
    for name, miou in content["miou"].items():
        click.echo(f"{name:12} mean IoU on rendered {domain}: {100 * miou:.1f} %", err=json_file == "-")
    click.echo(
        f"{seconds / 60:.1f} minutes of work, {(time.monotonic() - start) / 60:.1f} now; look at {content['report']}",
        err=json_file == "-",
    )
    write_json(json_file, content)


def make_steps(output: Path, domain: str, seed: int, plan: Plan, *, bundle: bool, half: bool) -> list[Step]:
    """The commands in order.

    bundle  whether the fastest engine here runs from files that must be made first
    half    whether to train in bf16, which takes half of the time where the CPU has instructions for it
    """
    out = str(output)
    source, target, made = f"{out}/clear", f"{out}/{domain}", f"{out}/transferred"
    world = ("data", "town")
    steps = [
        Step("labelled images of clear days", (
            *world, source, "--domain", "clear", "--scenes", str(plan.scenes), "--seed", str(2 * seed + 100),
        )),
        Step(f"{domain}, only to score on at the end", (
            *world, target, "--domain", domain, "--scenes", str(plan.target_scenes), "--seed", str(2 * seed + 101),
        )),
    ]  # fmt: skip
    if bundle:
        steps.append(Step("the diffusion model as files for the fastest engine", ("export-engines", "--model", "town")))
    steps.append(Step(f"clear scenes repainted as {domain}", (
        "transfer", "--root", source, "--domain", domain, "--engine", "auto", "-o", made, "--seed", str(seed),
    )))  # fmt: skip
    budget = (
        "--iterations",
        str(plan.iterations),
        "--batch",
        str(plan.batch),
        "--lr",
        str(plan.lr),
        "--seed",
        str(seed),
        *(("--precision", "bf16") if half else ()),
    )
    for name, options in ROWS.items():
        given = [option.replace("OUT", out) for option in options]
        steps.append(Step(f"a segmenter: {name}", (
            "adapt", "--source", source, *given, *NET, *budget, "-o", f"{out}/{name}",
        )))  # fmt: skip
    for name in ROWS:
        steps.append(Step(f"{name} scored on rendered {domain}", (
            "evaluate", f"{out}/{name}", "--root", target, "-o", f"{out}/scores/{name}",
        )))  # fmt: skip
    steps.append(Step("the adapted segmenter as a file that needs no PyTorch", (
        "export-segmenter", f"{out}/adapted", "--format", "onnx", "--root", source, "-o", f"{out}/deploy",
    )))  # fmt: skip
    steps.append(Step("the engines beside what there was before", (
        "bench", "transfer", "--batch", "4", "--rounds", "3", "--json", f"{out}/bench.json",
    )))  # fmt: skip
    return steps


def run_step(mark: Path, step: Step) -> float:
    """Run a command in this process, or not if it was done before; seconds that it took.

    mark  file that is written when it is done. A command that fails ends the demo as it would end by itself.
    """
    from zodi.cli.__main__ import zodi
    from zodi.files import write_atomic

    if mark.is_file():
        done = json.loads(mark.read_text(encoding="utf-8"))
        if done["arguments"] == list(step.arguments):
            click.echo("done before", err=True)
            return float(done["seconds"])
    start = time.monotonic()
    status = zodi.main(list(step.arguments), prog_name="zodi", standalone_mode=False)
    if status:
        sys.exit(status)
    seconds = time.monotonic() - start
    write_atomic(mark, json.dumps({"arguments": step.arguments, "seconds": round(seconds, 2)}).encode())
    return seconds
