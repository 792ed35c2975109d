"""Whether engines compute what PyTorch does: per graph, and at every step of a transfer with PyTorch's own latents."""

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from gpu_parts.settings import Check
from zodi.api import ExportChoice, export_engines
from zodi.bench_worker import DOMAIN, Work, scenes
from zodi.domains import find_domain
from zodi.engines import open_engine
from zodi.engines.bundle import load_tokenizer, open_bundle
from zodi.engines.devices import cpu_threads
from zodi.errors import ModelError
from zodi.export.bundle import check_engine
from zodi.export.parity import TOLERANCE
from zodi.export.precision import spread_error
from zodi.opening import load_model
from zodi.transfer.pipeline import Sampling, encode_images, encode_text, tokenize, transfer_encoded


def make_files(check: Check) -> dict[str, Any]:
    """Export the model; every file is compared with PyTorch on the CPU."""
    sizes = ExportChoice(check.size, (1, max(check.batches), max(check.batches)), static=True)
    bundle = export_engines(check.model_choice, check.engine_choice("onnx"), sizes=sizes)
    return {"parity": {name: worst(graph["parity"]) for name, graph in bundle.graphs.items()}}


def make_plans(check: Check) -> dict[str, Any]:
    """Build TensorRT's plans, compare each with PyTorch's results, and count the types that its layers return."""
    bundle = export_engines(engine=check.engine_choice("trt"), from_onnx=check.bundle)
    sizes = {name: bundle.plan_path(name).stat().st_size / 2**20 for name in bundle.plans}
    state = bundle.engines["trt"]
    parity = {name: worst(rows) for name, rows in state["parity"].items()}
    with open_engine(bundle, "trt", precision=check.precision, device=check.device) as engine:
        described: Any = engine
        types = {name: count_types(described.describe(name)) for name in bundle.plans}
    return {"plan_mib": sizes, "version": state["version"], "types": types, "parity": parity}


def count_types(description: str) -> dict[str, int]:
    """How many tensors have which type and layout, in what TensorRT's inspector says of a plan."""
    return dict(Counter(re.findall(r'"Format/Datatype": *"([^"]+)"', description)).most_common())


def compare_graphs(check: Check, name: str) -> dict[str, Any]:
    """Run an engine on the references that the bundle holds."""
    bundle = open_bundle(check.bundle)
    state = check_engine(bundle, name, precision=check.precision, device=check.device)
    return {"version": state["version"], "parity": {graph: worst(rows) for graph, rows in state["parity"].items()}}


def compare_steps(check: Check, name: str) -> dict[str, Any]:
    """The noise of an engine at every denoiser call of PyTorch's own transfer in fp32, one image.

    Returns {"errors"} in units of the spread, one for each call, and what is "allowed"; ModelError where one is above.
    """
    bundle = open_bundle(check.bundle)
    calls: list[tuple[dict[str, Tensor], Tensor]] = []
    work = Work(check.model_choice, check.engine_choice("torch"), "torch", check.size, 1, 1, 0.9, cpu_threads())
    with ExitStack() as stack:
        components = load_model(check.model_choice)
        info = components.info
        reference = stack.enter_context(open_engine(components, "torch", device=check.device))

        def run(graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            outputs = reference.run(graph, inputs)
            if graph == "denoiser":
                calls.append((dict(inputs), outputs["noise"]))
            return outputs

        image, layout = (tensor.to(reference.device) for tensor in scenes(work, 1))
        domain, tokenizer = find_domain(DOMAIN), load_tokenizer(bundle)
        prompts = [tokenize(tokenizer, info, text) for text in (domain.full_prompt, domain.negative_prompt)]
        texts = [encode_text(run, prompt.to(reference.device)) for prompt in prompts]
        sampling = Sampling(strength=check.strength, guidance=info.guidance, steps=check.steps)
        transfer_encoded(run, info, encode_images(run, image, layout), *texts, range(1), sampling)
    with open_engine(bundle, name, precision=check.precision, device=check.device) as engine:
        errors = [spread_error(engine.run("denoiser", inputs)["noise"], expected) for inputs, expected in calls]
    allowed = TOLERANCE * max(row["floor"] for row in bundle.graphs["denoiser"]["parity"])
    if not max(errors) <= allowed:
        raise ModelError(f"{name}: error {max(errors):.1e} of the spread at one of the steps, allowed is {allowed:.1e}")
    return {"errors": errors, "allowed": allowed}


def worst(rows: list[dict[str, Any]]) -> float:
    """The largest error in units of what is allowed."""
    return float(max(row["error"] / row["allowed"] for row in rows))
