"""Which sizes a bundle is made for: what the user asks for in images and pixels, and what follows for each graph."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zodi.errors import SettingsError, SizeError
from zodi.ports import Dim, Graph, ModelDims

Range = tuple[int, int, int]  # smallest, usual and largest value
Profile = dict[str, Range]  # by the symbols of a graph's ports


@dataclass(frozen=True)
class Sizes:
    """Images per batch, and height and width in pixels, each as (smallest, usual, largest)."""

    batch: Range
    height: Range
    width: Range

    @property
    def static(self) -> bool:
        """Whether all images have one size; the batch may still differ."""
        return all(low == high for low, _, high in (self.height, self.width))

    @property
    def options(self) -> tuple[str, str, str]:
        """The options of `zodi export-engines` that ask for these: the usual image, the batches, and what may vary."""
        return (
            f"--image-size {size_text((self.height[1], self.width[1]))}",
            f"--batch {':'.join(map(str, self.batch))}",
            "--static" if self.static else "--dynamic",
        )

    def take(self, size: tuple[int, int]) -> bool:
        """Whether an image of (height, width) in pixels is within the range."""
        return all(low <= side <= high for side, (low, _, high) in zip(size, (self.height, self.width), strict=True))

    def to_json(self) -> dict[str, list[int]]:
        """A JSON object that `from_json` reads."""
        return {"batch": list(self.batch), "height": list(self.height), "width": list(self.width)}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Sizes":
        """The inverse of `to_json`."""
        return cls(*(read_range(table[name]) for name in ("batch", "height", "width")))


def make_sizes(size: tuple[int, int], batch: Range, *, static: bool, dims: ModelDims) -> Sizes:
    """The sizes for a usual image of `size` (height, width) in pixels.

    static   only that size; else each side may go from the model's smallest to twice the longer side

    Raises SettingsError where a side is not a multiple of what the model needs.
    """
    for side in size:
        if side < dims.multiple or side % dims.multiple:
            near = max(round(side / dims.multiple), 1) * dims.multiple
            raise SettingsError(
                f"image size is {size[0]}x{size[1]}: {side} must be a multiple of {dims.multiple}, e.g. {near}"
            )
    if static:
        return Sizes(batch, *((side, side, side) for side in size))
    return Sizes(batch, *((dims.multiple, side, 2 * max(size)) for side in size))


def parse_batch(text: str) -> Range:
    """ "4" -> (4, 4, 4), "1:4:8" -> (1, 4, 8); SettingsError for anything else."""
    match = re.fullmatch(r"([1-9]\d*)(?::([1-9]\d*):([1-9]\d*))?", text)
    if match is None:
        raise SettingsError(f"batch is {text!r}: write N or MIN:OPT:MAX, e.g. 4 or 1:4:8")
    low = int(match[1])
    values = (low, int(match[2] or low), int(match[3] or low))
    if not values[0] <= values[1] <= values[2]:
        raise SettingsError(f"batch is {text!r}: MIN, OPT and MAX must not fall, e.g. 1:4:8")
    return values


def parse_image_size(text: str | None) -> tuple[int, int] | int | None:
    """ "512" -> 512, "512x1024" -> (512, 1024), None -> None; SettingsError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if match is None:
        raise SettingsError(f"image size is {text!r}: write the short side or HEIGHTxWIDTH in pixels, e.g. 512x1024")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])


def graph_profile(graph: Graph, sizes: Sizes, dims: ModelDims) -> Profile:
    """The range of each symbol of a graph's inputs.

    The denoiser takes the batch twice under guidance and once for the inversion; the text encoder takes two prompts.
    """
    low, usual, high = sizes.batch
    batches = {"text_encoder": (1, 2, 2), "denoiser": (low, 2 * usual, 2 * high)}
    known: Profile = {"batch": batches.get(graph.name, sizes.batch)}
    for symbol, pixels in (("height", sizes.height), ("width", sizes.width)):
        known[symbol] = read_range([value // dims.vae_factor for value in pixels])
    used = {dim.symbol for port in graph.inputs for dim in port.dims if isinstance(dim, Dim)}
    return {symbol: values for symbol, values in known.items() if symbol in used}


def check_profile(graph: Graph, profile: Profile, sizes: Mapping[str, int], *, factor: int, rebuild: str) -> None:
    """Raise SizeError where a size is outside what the graph was made for.

    factor   pixels per latent, for the message
    rebuild  the command that helps
    """
    wrong = next((symbol for symbol, (low, _, high) in profile.items() if not low <= sizes[symbol] <= high), None)
    if wrong is None:
        return
    if wrong == "batch":
        given, least, most = (str(n) for n in (sizes[wrong], profile[wrong][0], profile[wrong][2]))
    else:
        wrong = "image size"
        ends = ((profile["height"][end], profile["width"][end]) for end in (0, 2))
        given, least, most = (
            size_text((factor * h, factor * w)) for h, w in ((sizes["height"], sizes["width"]), *ends)
        )
    allowed = least if least == most else f"{least} to {most}"
    raise SizeError(
        f"{graph.name}: {wrong} is {given}, the bundle is made for {allowed}: "
        f"export it for that, as it was made with {rebuild}"
    )


def size_text(size: tuple[int, int]) -> str:
    """(512, 1024) -> "512x1024"."""
    return f"{size[0]}x{size[1]}"


def read_range(values: Any) -> Range:
    """Three integers from a JSON list; ValueError for anything else."""
    low, usual, high = (int(value) for value in values)
    return low, usual, high
