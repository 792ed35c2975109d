"""Target domains: a prompt and a strength each. Presets from ZoDi (arXiv 2403.13652), or a user's TOML file."""

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from zodi.errors import SettingsError

RESERVED = ("quarantine", "masks")
ORIGINAL = "ZoDi (arXiv 2403.13652), the authors' published settings"

# what Stable Diffusion web UIs parse in prompts and a text encoder does not
WEB_UI_SYNTAX = re.compile(
    r"\([^()]*(?:[^()\s\d:]:-?\d|:\s*-?\d?\.\d+)\s*\)"  # (night:1.4), (night:2); not (at 23:30), (lanes: 2)
    r"|\(\([^()]*\)\)"  # ((night))
    r"|<\w+:[^<>]+>"  # <lora:x:0.8>
    r"|\[[^\[\]]*(?:\||:\s*[\d.]|:[^\[\]]*:)[^\[\]]*\]"  # [a|b], [a:b:0.5], [a:5]
    r"|\{[^{}]*\|[^{}]*\}"  # {a|b}
    r"|\bBREAK\b"
)


@dataclass(frozen=True)
class Domain:
    """What the images are to be turned into.

    prompt           what the target images show, e.g. "driving at night"
    strength         share of the noise schedule that is inverted and regenerated, 0 < strength < 1
    added_prompt     appended to the prompt after a comma
    negative_prompt  the unconditional branch of guidance
    source           where the settings come from
    """

    name: str
    prompt: str
    strength: float
    added_prompt: str = "best quality"
    negative_prompt: str = "lower quality, worst quality"
    source: str = "user"

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise SettingsError(f"domain name {self.name!r} cannot be a folder name: use letters, digits, - and _")
        if self.name in RESERVED:
            raise SettingsError(f"domain name {self.name!r} is a folder that transfer itself uses: choose another name")
        if not self.prompt.strip():
            raise SettingsError(f"domain {self.name!r} has an empty prompt: say what its images show")
        if not 0.0 < self.strength < 1.0:
            raise SettingsError(f"strength is {self.strength:g}, allowed is 0 < strength < 1: 0.6 to 0.9 is usual")

    @property
    def full_prompt(self) -> str:
        """The text that the model is given."""
        return f"{self.prompt}, {self.added_prompt}" if self.added_prompt else self.prompt

    @property
    def warning(self) -> str | None:
        """What to know of its prompts: weights and the like, as web UIs have them, are text like any other here."""
        found = WEB_UI_SYNTAX.search(self.full_prompt) or WEB_UI_SYNTAX.search(self.negative_prompt)
        if found is None:
            return None
        return (
            f"domain {self.name!r}: {found[0]!r} in the prompt is not parsed, the model reads it as plain text: write "
            "the words alone, weights, <lora:...> and [a|b] have no effect"
        )


PRESETS: dict[str, Domain] = {
    "night": Domain("night", "driving at night", 0.90, source=ORIGINAL),
    "snow": Domain("snow", "driving in snow", 0.65, source=ORIGINAL),
    "rain": Domain("rain", "driving under rain", 0.65, source=ORIGINAL),
    "fog": Domain("fog", "driving in fog", 0.60, source=ORIGINAL),
    "game": Domain("game", "driving in a game", 0.60, source=ORIGINAL),
}


def find_domain(name_or_file: str) -> Domain:
    """A preset by its name, or the domain that a `.toml` file describes.

    The file holds `prompt` and `strength`, and may hold `name` (default: the file's stem), `added_prompt`,
    `negative_prompt` and `source`.

    Raises SettingsError for an unknown name, a missing or malformed file, and unknown or missing keys.
    """
    if name_or_file in PRESETS:
        return PRESETS[name_or_file]
    if not name_or_file.endswith(".toml"):
        raise SettingsError(
            f"unknown domain {name_or_file!r}: allowed are {', '.join(PRESETS)}, or the path of a .toml file"
        )
    path = Path(name_or_file)
    table = read_toml(path)
    known = [field.name for field in fields(Domain)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise SettingsError(f"{path}: unknown key {unknown[0]!r}, known are {', '.join(known)}")
    missing = [key for key in ("prompt", "strength") if key not in table]
    if missing:
        raise SettingsError(f"{path}: key {missing[0]!r} is missing: a domain has at least prompt and strength")
    for key, value in table.items():
        allowed = (int, float) if key == "strength" else str
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise SettingsError(f"{path}: {key} = {value!r} is not a {'number' if key == 'strength' else 'string'}")
    try:
        return Domain(**({"name": path.stem} | table))  # type: ignore[arg-type]
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def read_toml(path: Path) -> dict[str, object]:
    """The tables of a TOML file; SettingsError where it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}): check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML in UTF-8: {error}") from None
