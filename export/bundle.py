"""Export a model as a bundle: graph by graph, each freed before its file is opened, what is current left alone."""

import gc
import importlib
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from zodi.engines import open_engine
from zodi.engines.bundle import (
    BUNDLE_FILE,
    Bundle,
    difference,
    file_problems,
    file_sha256,
    graph_identity,
    read_bundle,
)
from zodi.engines.components import Components
from zodi.engines.graphs import build_graphs
from zodi.engines.group_norm import replace_group_norms
from zodi.engines.profile import Profile, Sizes
from zodi.errors import ModelError, OutputError
from zodi.export.group_norm import StagedGroupNorm
from zodi.export.onnx_file import EXPORTER, OPSETS, attach_identity, check_structure, write_graph
from zodi.export.parity import (
    Reference,
    load_references,
    make_references,
    measure_parity,
    sample_inputs,
    save_references,
)
from zodi.export.precision import graph_precision
from zodi.files import write_atomic
from zodi.ports import Dim, Graph, graphs

Report = Callable[[str, str], None]  # graph, what was done with it

ORDER = ("denoiser", "vae_decoder", "vae_encoder", "text_encoder", "control_hint")  # the largest is freed first
LARGE = ("vae_encoder", "vae_decoder")  # their feature maps have up to as many pixels as the image


def export_bundle(
    components: Components,
    directory: Path,
    *,
    precision: str,
    sizes: Sizes,
    report: Report = lambda graph, done: None,
) -> Bundle:
    """Write what is not there yet of a bundle, and return it. The components are used up: their weights are freed.

    precision  of the files: "fp32", "fp16" or "bf16"; half is traced, not computed
    sizes      that the graphs shall take
    report     told for each graph whether it was written, and why, or is current

    A broken export goes on at the graph where it stopped. Raises ModelError where a file does not compute what PyTorch
    computes, OutputError where the directory cannot be written or is too small.
    """
    bundle = Bundle(directory, components.info, precision, sizes)
    table = graphs(components.info.dims)
    identities = {
        name: graph_identity(
            bundle, graph, precision=(p := graph_precision(name, precision)), exporter=_exporter(), opset=OPSETS[p]
        )
        for name, graph in table.items()
    }
    reasons = _keep_current(bundle, identities)
    if all(reason is None for reason in reasons.values()):
        for name in table:
            report(name, "is current")
        return read_bundle(directory)
    vocabulary = components.text_encoder.config.vocab_size
    _check_space(components, directory)
    _write_parts(components, bundle)
    modules = build_graphs(components)
    components.vae = components.text_encoder = components.unet = components.controlnet = None
    for name in ORDER:
        module = modules.pop(name)
        reason = reasons[name]
        if reason is None:
            report(name, "is current")
            continue
        graph, identity = table[name], identities[name]
        profile: Profile = {symbol: tuple(values) for symbol, values in identity["profile"].items()}
        step = components.info.dims.multiple // components.info.dims.vae_factor
        references = make_references(
            module, graph, components.info, profile, vocabulary=vocabulary, precision=identity["precision"]
        )
        traced = sample_inputs(graph, components.info, trace_sizes(graph, profile, step), vocabulary=vocabulary, seed=0)
        path = bundle.path(name)
        for file in _graph_files(name):
            (directory / file).unlink(missing_ok=True)  # it may be a hard link, and another bundle's as well
        if name in LARGE and identity["precision"] == "fp32":
            replace_group_norms(module, StagedGroupNorm)
        write_graph(module, graph, list(traced.values()), path, profile=profile, precision=identity["precision"])
        del module
        gc.collect()  # the tracer's records are cyclic, and hold the weights
        check_structure(path, graph, profile, identity["precision"])
        parity = file_parity(path, graph, references, identity["precision"])
        save_references(_parity_path(bundle, name), references)
        attach_identity(path, identity)
        bundle.graphs[name] = {"identity": identity, "parity": parity}
        _add_files(bundle, *_graph_files(name))
        bundle.write()
        report(name, f"written ({reason}); error {max(row['error'] / row['floor'] for row in parity):.1f} x floor")
    return bundle


def check_engine(
    bundle: Bundle, name: str, *, precision: str, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """Run every graph of a verified bundle on an engine against the references that it holds.

    Returns {"precision", "device", "gpu", "version", "parity": {graph: rows}}. Raises as `open_engine`, and ModelError
    where a result is not PyTorch's.
    """
    with open_engine(bundle, name, precision=precision, device=device, threads=threads) as engine:
        rows = {}
        for graph in graphs(bundle.info.dims):
            references = [
                Reference({k: v.to(engine.device) for k, v in r.inputs.items()}, r.outputs, r.floors)
                for r in load_references(_parity_path(bundle, graph))
            ]
            in_file = bundle.graphs[graph]["identity"]["precision"]
            executed = engine.precision if bundle.precision == "fp32" else in_file
            if name == "trt" and bundle.precision != "fp32" and in_file == "fp32":
                executed = "bf16"  # its plan may compute in TF32, which rounds more than fp32 and less than bf16
            rows[graph] = measure_parity(f"{graph} on {name}", partial(engine.run, graph), references, executed)
        gpu = torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else None
        package = bundle.plans[graph]["product"] if name == "trt" else {"ort": "onnxruntime"}.get(name, name)
        version = importlib.import_module(package).__version__
        return {
            "precision": engine.precision, "device": engine.device.type, "gpu": gpu, "version": version, "parity": rows,
        }  # fmt: skip


def copy_bundle(source: Bundle, directory: Path) -> Bundle:
    """A verified bundle at another place, without its engines; data, also where the source has links into a store.

    Weights are hard links where the source has them itself and the file system allows it.
    """
    files = {name: sha256 for name, sha256 in source.files.items() if not name.endswith(".plan")}
    copy = Bundle(directory, source.info, source.precision, source.sizes, source.graphs, {}, files)
    try:
        for name in files:
            target = directory / name
            if "/" in name and target.parent.is_symlink():  # into a store, whose files stay
                target.parent.unlink()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if not (name.endswith(".data") and _link(source.directory / name, target)):
                shutil.copyfile(source.directory / name, target)
    except OSError as error:
        raise OutputError(f"{directory}: cannot be written ({error.strerror}): choose another --bundle") from None
    copy.write()
    return copy


def _link(source: Path, target: Path) -> bool:
    if source.is_symlink() or source.parent.is_symlink():  # a hard link would lead into the store that they lead to
        return False
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def trace_sizes(graph: Graph, profile: Profile, step: int) -> dict[str, int]:
    """Sizes to trace at: a batch of two or more and H != W wherever they may vary."""
    symbols = {dim.symbol for port in graph.inputs for dim in port.dims if isinstance(dim, Dim)}
    sizes = {"batch": min(max(2, profile["batch"][0]), profile["batch"][2])}
    for symbol, varied in (("height", 2 * step), ("width", 3 * step)):
        if symbol in symbols:
            low, _, high = profile[symbol]
            sizes[symbol] = low if low == high else varied
    return sizes


def _keep_current(bundle: Bundle, identities: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    """Take over what is current of the bundle that is there; why each graph must be written, None where it need not."""
    try:
        old = read_bundle(bundle.directory)
    except ModelError:
        there = (bundle.directory / BUNDLE_FILE).exists()
        return dict.fromkeys(identities, f"{BUNDLE_FILE} is damaged" if there else "new")
    problems = file_problems(old)
    reasons: dict[str, str | None] = {}
    for name, identity in identities.items():
        reason = None
        if name not in old.graphs:
            reason = "was not finished"
        elif (key := difference(old.graphs[name]["identity"], identity)) is not None:
            reason = f"{key} differs"
        elif broken := next((file for file in _graph_files(name) if file in problems or file not in old.files), None):
            reason = f"{broken} {problems.get(broken, 'is missing')}"
        reasons[name] = reason
        if reason is None:
            bundle.graphs[name] = old.graphs[name]
            bundle.files |= {file: old.files[file] for file in _graph_files(name)}
    others = {file for file in problems if "/" in file}
    if others and all(reason is None for reason in reasons.values()):
        reasons[ORDER[-1]] = f"{min(others)} {problems[min(others)]}"
    return reasons


def file_parity(path: Path, graph: Graph, references: list[Reference], precision: str) -> list[dict[str, Any]]:
    """Run a file on the CPU, whatever machine it is for: half precision is rounded there as well, and slower."""
    if precision == "bf16":  # ONNX Runtime has no kernels for it on the CPU
        from zodi.engines.openvino import infer
        from zodi.engines.openvino_model import compile_bf16_graph

        request = compile_bf16_graph(path)
        return measure_parity(path.name, lambda inputs: infer(request, inputs, graph), references, precision)
    from zodi.engines.ort import run_on_cpu
    from zodi.engines.ort_session import open_session

    session = open_session(path, fused=True)
    shapes = {port.name: () for port in graph.outputs}
    return measure_parity(path.name, lambda inputs: run_on_cpu(session, inputs, shapes), references, precision)


def _write_parts(components: Components, bundle: Bundle) -> None:
    """Tokenizer and scheduler config."""
    info, directory = components.info, bundle.directory
    scheduler = {"_class_name": "DDIMScheduler", **info.scheduler, "prediction_type": info.prediction_type}
    for folder in (directory / "scheduler", directory / "tokenizer"):
        for path in (folder, *folder.glob("*")):
            if path.is_symlink():  # into a store: new files must not be written through it
                path.unlink()
    write_atomic(directory / "scheduler/scheduler_config.json", (json.dumps(scheduler, indent=2) + "\n").encode())
    components.tokenizer.save_pretrained(directory / "tokenizer")
    parts = [path for folder in ("scheduler", "tokenizer") for path in (directory / folder).iterdir()]
    _add_files(bundle, *(path.relative_to(directory).as_posix() for path in parts if path.is_file()))


def _add_files(bundle: Bundle, *names: str) -> None:
    bundle.files |= {name: file_sha256(bundle.directory / name) for name in names}


def _graph_files(name: str) -> tuple[str, str, str]:
    return f"{name}.onnx", f"{name}.onnx.data", f"{name}.parity.npz"


def _parity_path(bundle: Bundle, name: str) -> Path:
    return bundle.directory / f"{name}.parity.npz"


def _exporter() -> str:
    return f"{EXPORTER}, torch {torch.__version__}, onnxscript {metadata.version('onnxscript')}"


def _check_space(components: Components, directory: Path) -> None:
    parts = (components.vae, components.text_encoder, components.unet, components.controlnet)
    need = sum(p.numel() * 4 for part in parts for p in part.parameters()) + 64 * 2**20
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < need:
        raise OutputError(
            f"{directory}: has {free / 2**30:.1f} GiB free, the bundle needs {need / 2**30:.1f}: "
            "choose another --bundle"
        )
