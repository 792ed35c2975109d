"""The five graphs of a diffusion model and their ports: one table that every exporter, engine and check reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Array(Protocol):
    """What a port is checked on: a torch tensor or a numpy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> object: ...


@dataclass(frozen=True)
class Dim:
    """A size that differs from call to call: `factor` times the value of `symbol`."""

    symbol: str
    factor: int = 1

    def __str__(self) -> str:
        return self.symbol if self.factor == 1 else f"{self.factor}*{self.symbol}"


@dataclass(frozen=True)
class Port:
    """One input or output of a graph; `dtype` is "float32" or "int64" at every precision of the engine."""

    name: str
    dims: tuple[Dim | int, ...]
    dtype: str = "float32"

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for given values of the symbols."""
        return tuple(d if isinstance(d, int) else d.factor * sizes[d.symbol] for d in self.dims)


@dataclass(frozen=True)
class Graph:
    """A graph by the names of its ports, in the order of its arguments and results."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class ModelDims:
    """The sizes that a model fixes.

    latent_channels  4 for Stable Diffusion
    vae_factor       pixels per latent, 8 for Stable Diffusion
    multiple         both sides of an image must be multiples of this many pixels, 64 for Stable Diffusion
    tokens           length of the prompt, 77
    text_width       width D of the text encoder's hidden states
    hint_channels    channels C of the ControlNet's embedded condition
    """

    latent_channels: int
    vae_factor: int
    multiple: int
    tokens: int
    text_width: int
    hint_channels: int


def graphs(dims: ModelDims) -> dict[str, Graph]:
    """The graphs of a model by name.

    text_encoder   token ids (B, 77) -> hidden states (B, 77, D); once per run
    vae_encoder    image (B, 3, fh, fw) in -1..1 -> mean and log variance (B, 4, h, w); once per image
    control_hint   layout (B, 3, fh, fw) in 0..1 -> hint (B, C, h, w); does not depend on the time step: once per image
    denoiser       UNet and ControlNet: latents (N, 4, h, w) -> noise (N, 4, h, w); N = 2B with guidance
    vae_decoder    latents (B, 4, h, w) -> image (B, 3, fh, fw); once per image
    """
    batch, h, w = Dim("batch"), Dim("height"), Dim("width")
    image = (batch, 3, Dim("height", dims.vae_factor), Dim("width", dims.vae_factor))
    latents = (batch, dims.latent_channels, h, w)
    text = (batch, dims.tokens, dims.text_width)
    hint = (batch, dims.hint_channels, h, w)
    table = (
        Graph("text_encoder", (Port("token_ids", (batch, dims.tokens), "int64"),), (Port("text", text),)),
        Graph("vae_encoder", (Port("image", image),), (Port("mean", latents), Port("logvar", latents))),
        Graph("control_hint", (Port("layout", image),), (Port("hint", hint),)),
        Graph(
            "denoiser",
            (
                Port("latents", latents),
                Port("timestep", (batch,), "int64"),
                Port("text", text),
                Port("hint", hint),
                Port("control_scale", ()),
            ),
            (Port("noise", latents),),
        ),
        Graph("vae_decoder", (Port("latents", latents),), (Port("image", image),)),
    )
    return {graph.name: graph for graph in table}


def check_inputs(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, int]:
    """Compare the arrays with the graph's inputs and return the values of the symbols.

    Raises ValueError (a caller's mistake, not a user's) that names the port, what it has, and what was expected.
    """
    return _check(graph, graph.inputs, arrays, {})


def check_outputs(graph: Graph, arrays: Mapping[str, Array], sizes: Mapping[str, int]) -> None:
    """Compare the arrays with the graph's outputs for the sizes of its inputs; ValueError as `check_inputs`."""
    _check(graph, graph.outputs, arrays, dict(sizes))


def _check(graph: Graph, ports: tuple[Port, ...], arrays: Mapping[str, Array], sizes: dict[str, int]) -> dict[str, int]:
    names = [port.name for port in ports]
    if set(arrays) != set(names):
        raise ValueError(f"{graph.name} was given the ports {sorted(arrays)}, expected {sorted(names)}")
    for port in ports:
        array = arrays[port.name]
        dtype = str(array.dtype).removeprefix("torch.")
        if dtype != port.dtype:
            raise ValueError(f"{graph.name}: {port.name} is {dtype}, expected {port.dtype}")
        shape = tuple(array.shape)
        if len(shape) != len(port.dims) or not all(_fits(d, n, sizes) for d, n in zip(port.dims, shape, strict=True)):
            known = ", ".join(f"{k} = {v}" for k, v in sizes.items())
            expected = "(" + ", ".join(str(d) for d in port.dims) + ")"
            raise ValueError(
                f"{graph.name}: {port.name} has shape {shape}, expected {expected}"
                + (f" with {known}" if known else "")
            )
    return sizes


def _fits(dim: Dim | int, size: int, sizes: dict[str, int]) -> bool:
    if isinstance(dim, int):
        return size == dim
    return (
        size % dim.factor == 0 and size > 0 and sizes.setdefault(dim.symbol, size // dim.factor) == size // dim.factor
    )
