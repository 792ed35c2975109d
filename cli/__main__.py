"""Entry point of the command line: the commands by name, imported when chosen, and what errors look like."""

import importlib
import sys

import click

from zodi import __version__
from zodi.cli.streams import steady_streams
from zodi.errors import ZodiError
from zodi.files import NO_SPACE

COMMANDS: dict[str, tuple[str, str]] = {  # name -> (module, the line that `zodi --help` shows)
    "adapt": ("zodi.cli.adapt", "Train a segmenter on source and synthetic images."),
    "bench": ("zodi.cli.bench", "Measure engines beside what there was before."),
    "data": ("zodi.cli.data", "Check data sets and make them."),
    "demo": ("zodi.cli.demo", "Show everything on a rendered street world, in minutes."),
    "doctor": ("zodi.cli.doctor", "Show what is installed, what this machine can do, and what is missing."),
    "engines": ("zodi.cli.engines", "Look into the files that engines run from."),
    "estimate": ("zodi.cli.estimate", "Estimate a segmenter's score in a domain without images."),
    "evaluate": ("zodi.cli.evaluate", "Score a segmenter on labelled images."),
    "export-engines": ("zodi.cli.export_engines", "Make the files that ONNX Runtime and OpenVINO run from."),
    "export-segmenter": ("zodi.cli.export_segmenter", "Make a segmenter a file that runs without PyTorch."),
    "predict": ("zodi.cli.predict", "Segment images with a checkpoint or an exported file."),
    "report": ("zodi.cli.report", "Show runs on one HTML page."),
    "transfer": ("zodi.cli.transfer", "Repaint labelled images into another domain."),
}


class Commands(click.Group):
    """A group that imports a command when it is called, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zodi")
def zodi() -> None:
    """Make segmentation models work where there are no images to train on."""


def main() -> None:
    """Run a command; exit 0 done, 1 the run failed or the data is wrong, 2 wrong usage, 130/143 interrupted."""
    with steady_streams():
        sys.exit(_status())


def _status() -> int:
    try:
        status = zodi.main(prog_name="zodi", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except ZodiError as error:
        click.echo(f"zodi: {error}", err=True)
        return 1
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"zodi: {place}{error.strerror}: free some space and give the command again", err=True)
        return 1
    return status if isinstance(status, int) else 0  # --help and --version return click's exit code


if __name__ == "__main__":
    main()
