"""Whether a file computes what PyTorch computes: sample inputs, references, and the error against them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zodi.engines.profile import Profile
from zodi.errors import ModelError
from zodi.export.precision import precision_floor, spread_error
from zodi.model import ModelInfo
from zodi.ports import Dim, Graph

TOLERANCE = 10.0  # times the precision's floor

Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Reference:
    """Inputs and PyTorch's float32 outputs by port, and the floors of precisions in units of the outputs' spread."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    floors: dict[str, float]


def sample_inputs(
    graph: Graph, info: ModelInfo, sizes: Mapping[str, int], *, vocabulary: int, seed: int
) -> dict[str, Tensor]:
    """Inputs as they occur, seeded: noise for latents, images in their ranges, time steps of the whole schedule."""
    generator = torch.Generator().manual_seed(seed)
    steps = int(info.scheduler["num_train_timesteps"])
    inputs = {}
    for port in graph.inputs:
        shape = port.shape(sizes)
        if port.dtype == "int64":
            below = vocabulary if port.name == "token_ids" else steps
            inputs[port.name] = torch.randint(0, below, shape, generator=generator)
        elif port.name in ("image", "layout"):
            value = torch.rand(shape, generator=generator)
            inputs[port.name] = value * 2 - 1 if port.name == "image" else value
        elif port.name == "control_scale":
            inputs[port.name] = torch.tensor(0.5 + 0.5 * (seed % 2))
        else:
            scale = 1 / info.scaling_factor if graph.name == "vae_decoder" else 1.0
            inputs[port.name] = torch.randn(shape, generator=generator) * scale
    return inputs


def check_sizes(graph: Graph, profile: Profile, step: int) -> list[dict[str, int]]:
    """Up to four sizes: two batches, and where the shape may vary two shapes, small ones with H != W.

    step  latents are multiples of it
    """
    batches = sorted({profile["batch"][0], max(profile["batch"][0], min(2, profile["batch"][2]))})
    symbols = {dim.symbol for port in graph.inputs for dim in port.dims if isinstance(dim, Dim)}
    if "height" not in symbols:
        return [{"batch": batch} for batch in batches]
    shapes = [(2 * step, 3 * step), (2 * step, step)]
    if all(profile[symbol][0] == profile[symbol][2] for symbol in ("height", "width")):
        shapes = [(profile["height"][0], profile["width"][0])]
    return [{"batch": b, "height": h, "width": w} for h, w in shapes for b in batches]


@torch.inference_mode()
def make_references(
    module: nn.Module, graph: Graph, info: ModelInfo, profile: Profile, *, vocabulary: int, precision: str
) -> list[Reference]:
    """What `module` computes in float32 at each of `check_sizes`.

    The floors are measured once, on one small image: in float64 a large model takes minutes for more. They are those
    of the file's precision and, for fp32 files, of bf16, to which some engines round them.
    """
    step = info.dims.multiple // info.dims.vae_factor

    def compute(sizes: Mapping[str, int], seed: int) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        inputs = sample_inputs(graph, info, sizes, vocabulary=vocabulary, seed=seed)
        return inputs, module(*inputs.values())

    inputs, outputs = compute({"batch": 1, "height": 2 * step, "width": 3 * step}, 0)
    floors = {
        name: precision_floor(module, list(inputs.values()), outputs, name)
        for name in (("fp32", "bf16") if precision == "fp32" else (precision,))
    }
    references = []
    for seed, sizes in enumerate(check_sizes(graph, profile, step)):
        inputs, outputs = compute(sizes, seed)
        references.append(Reference(inputs, {p.name: o for p, o in zip(graph.outputs, outputs, strict=True)}, floors))
    return references


def save_references(path: Path, references: Sequence[Reference]) -> None:
    """Write them as one .npz, so that the files can be checked where PyTorch's weights are not."""
    arrays: dict[str, Any] = {f"floor.{name}": np.array(value) for name, value in references[0].floors.items()}
    for i, reference in enumerate(references):
        arrays |= {f"{i}.in.{name}": tensor.numpy() for name, tensor in reference.inputs.items()}
        arrays |= {f"{i}.out.{name}": tensor.numpy() for name, tensor in reference.outputs.items()}
    np.savez(path, **arrays)


def load_references(path: Path) -> list[Reference]:
    """The inverse of `save_references`."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    floors = {key.removeprefix("floor."): float(arrays.pop(key)) for key in list(arrays) if key.startswith("floor.")}
    references = [Reference({}, {}, floors) for _ in {key.split(".")[0] for key in arrays}]
    for key, array in arrays.items():
        index, side, name = key.split(".")
        reference = references[int(index)]
        (reference.inputs if side == "in" else reference.outputs)[name] = torch.from_numpy(array)
    return references


def measure_parity(name: str, run: Run, references: Sequence[Reference], precision: str) -> list[dict[str, Any]]:
    """One row per reference: {"shape" of the first input, "error", "floor", "allowed"}, in units of the spread.

    Raises ModelError where an error is above TOLERANCE times the floor of the precision, or a result is not finite.
    """
    rows = []
    for reference in references:
        outputs = run(reference.inputs)
        error = max(spread_error(outputs[port].cpu(), expected) for port, expected in reference.outputs.items())
        shape = list(next(iter(reference.inputs.values())).shape)
        floor = reference.floors[precision]
        if not error <= TOLERANCE * floor:
            raise ModelError(
                f"{name} computes something else than PyTorch: error {error:.1e} of the spread at {shape}, "
                f"allowed is {TOLERANCE * floor:.1e}"
            )
        rows.append({"shape": shape, "error": error, "floor": floor, "allowed": TOLERANCE * floor})
    return rows
