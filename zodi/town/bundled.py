"""Where the model that ships with zodi is."""

from pathlib import Path

NAME = "town"  # as in `--model town`
DIRECTORY = Path(__file__).parent / "model"
