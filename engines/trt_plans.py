"""The TensorRT plans of a bundle: built graph by graph, tied to what they were built from, for and with."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zodi.engines.bundle import Bundle, cache_directory, difference, file_problems, file_sha256
from zodi.engines.devices import find_device, free_memory
from zodi.engines.trt_build import PlanChoice, build_plan, cache_name, target_capabilities
from zodi.engines.trt_product import PRODUCTS, RTX, capabilities, find_product, system_name
from zodi.errors import EngineError, ModelError, OutputError, SettingsError
from zodi.ports import graphs

Progress = Callable[[int, int, str], None]  # steps that are done, all steps, and what is done now

ORDER = ("control_hint", "text_encoder", "vae_encoder", "vae_decoder", "denoiser")  # what cannot be built shows early
PARTS = 100  # steps of each graph
MEMORY_FACTOR = 3.0  # of a process that builds, times the weights of the graph; measured, see docs/gpu.md
SPARE = 2**30  # bytes that building takes besides


def build_plans(
    bundle: Bundle,
    choice: PlanChoice,
    *,
    device: str = "auto",
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Progress = lambda done, total, note: None,
) -> bool:
    """Build the plans that a verified bundle does not have yet; whether they can run on the device.

    Each is written and listed in bundle.json before the next is begun, so that a broken build goes on where it stopped.

    Raises EngineError where the product, a GPU or memory is missing, OutputError for the disk, and as `build_plan`.
    """
    product, here = find_target(choice, device)
    for i, name in enumerate(ORDER):
        target = plan_target(product, here, choice)
        identity = target | graph_part(bundle, name)
        path = bundle.plan_path(name)
        if bundle.plans.get(name) == identity and bundle.files.get(path.name) == _sha256(path):
            notify(f"{name} plan is current")
            continue
        weights = bundle.path(name).with_name(f"{name}.onnx.data").stat().st_size
        check_room(bundle.directory, weights, here)
        plan = build_plan(
            product,
            bundle.path(name),
            graphs(bundle.info.dims)[name],
            bundle.profile(name),
            bundle.graphs[name]["identity"]["precision"],
            choice,
            # the decoder that stays fp32 in fp16 needs the range, not the mantissa
            tf32=bundle.precision != "fp32",
            timing_cache=None if product.__name__ == RTX else _timing_cache(product, here),
            report=lambda share, what, i=i, name=name: on_progress(  # type: ignore[misc]
                int(PARTS * (i + share)), PARTS * len(ORDER), f"{name}: {what}"
            ),
        )
        write_plan(bundle, name, plan, identity)
        del plan
        notify(f"{name} plan written, {path.stat().st_size / 2**20:.1f} MiB")
    on_progress(PARTS * len(ORDER), PARTS * len(ORDER), "")
    return here.type == "cuda" and _fits(bundle, here)


def find_target(choice: PlanChoice, device: str) -> tuple[Any, torch.device]:
    """The product that builds, and the device that is here; EngineError or SettingsError where the two do not do."""
    product = find_product((RTX,)) if choice.compute_capabilities else find_product()
    target_capabilities(product, choice.compute_capabilities)
    here = find_device(device)
    if here.type == "cpu" and not choice.compute_capabilities:
        raise EngineError(no_gpu(product))
    return product, here


def plan_target(product: Any, device: torch.device, choice: PlanChoice) -> dict[str, Any]:
    """What plans are built with and for, in the form of an identity."""
    ahead = list(choice.compute_capabilities)
    return {
        "product": product.__name__,
        "version": product.__version__,
        "os": system_name(),
        "compute_capability": ahead or [capability(device)],
        "gpu": None if ahead else torch.cuda.get_device_name(device),
        "ahead_of_time": bool(ahead),
        "workspace_mib": choice.workspace_mib,
        "optimization_level": choice.optimization_level,
    }


def graph_part(bundle: Bundle, name: str) -> dict[str, Any]:
    """What a plan is built from, in the form of an identity."""
    identity = bundle.graphs[name]["identity"]
    return {
        "profile": identity["profile"],
        "precision": identity["precision"],
        "onnx": bundle.files[f"{name}.onnx"],
        "weights": bundle.files[f"{name}.onnx.data"],
    }


def check_plans(bundle: Bundle) -> Any:
    """The product that a bundle's plans are for, after all that can be checked without a GPU.

    A plan is code that TensorRT executes: its sha256 must be the one in bundle.json. Raises EngineError where there are
    no plans or the product is missing, ModelError that names the file or the field of its identity which differs.
    """
    missing = [name for name in ORDER if name not in bundle.plans or bundle.plan_path(name).name not in bundle.files]
    if missing:
        raise EngineError(
            f"{bundle.directory}: has no TensorRT plan of {', '.join(missing)}: build it on the GPU that will run it "
            f"with {bundle.rebuild_plans}"
        )
    wanted = bundle.plans[ORDER[0]]["product"]
    if wanted not in PRODUCTS:  # a name from a file is not imported
        raise ModelError(f"{bundle.directory}: its plans are for {wanted!r}: build them with {bundle.rebuild_plans}")
    for file, problem in file_problems(bundle, [bundle.plan_path(name).name for name in ORDER]).items():
        raise ModelError(f"{bundle.directory}: {file} {problem}: build it again with {bundle.rebuild_plans}")
    product = find_product((wanted,))
    for name in ORDER:
        here = {
            "product": product.__name__,
            "version": product.__version__,
            "os": system_name(),
            **graph_part(bundle, name),
        }
        written = {key: bundle.plans[name].get(key) for key in here}
        if (key := difference(written, here)) is not None:
            raise ModelError(
                f"{bundle.plan_path(name)}: its {key} is {written[key]!r}, here it is {here[key]!r}: "
                f"build it again with {bundle.rebuild_plans}"
            )
    return product


def check_gpu(bundle: Bundle, device: torch.device) -> None:
    """Raise ModelError unless all plans are for the GPU, EngineError where there is none."""
    if device.type == "cpu":
        raise EngineError("--engine trt runs on an NVIDIA GPU, and there is none that PyTorch sees: see `zodi doctor`")
    check_capability(bundle, capability(device), torch.cuda.get_device_name(device))


def check_capability(bundle: Bundle, here: str, gpu: str) -> None:
    """Raise ModelError unless all plans are for the compute capability, and, if tuned on a GPU, for that GPU."""
    for name in ORDER:
        plan = bundle.plans[name]
        if here not in plan["compute_capability"] or plan["gpu"] not in (None, gpu):
            built_for = plan["gpu"] or "compute capability " + ", ".join(plan["compute_capability"])
            raise ModelError(
                f"{bundle.plan_path(name)}: is built for {built_for}, here is {gpu} ({here}): "
                f"build it here with {bundle.rebuild_plans}"
            )


def check_room(directory: Path, weights: int, device: torch.device) -> None:
    """Raise EngineError or OutputError unless memory, disk and GPU have room to build from so many bytes of weights."""
    free = free_memory()
    need = MEMORY_FACTOR * weights + SPARE
    if free < need:
        raise EngineError(
            f"{directory}: building a plan needs about {need / 2**30:.1f} GiB of memory, {free / 2**30:.1f} are free: "
            "end other programs, or take a larger machine"
        )
    disk = shutil.disk_usage(directory).free
    if disk < 2 * weights + SPARE:
        raise OutputError(
            f"{directory}: has {disk / 2**30:.1f} GiB free, a plan needs {(2 * weights + SPARE) / 2**30:.1f}: "
            "choose another --bundle"
        )
    if device.type == "cuda" and (room := torch.cuda.mem_get_info(device)[0]) < 2 * weights + SPARE:
        raise EngineError(
            f"{device}: building needs {(2 * weights + SPARE) / 2**30:.1f} GiB, {room / 2**30:.1f} are free"
        )


def write_plan(bundle: Bundle, name: str, plan: memoryview, identity: dict[str, Any]) -> None:
    """Write a plan and list it; a crash leaves the bundle with or without it, never with half of it."""
    path = bundle.plan_path(name)
    making = path.with_name(path.name + ".tmp")
    try:
        with making.open("wb") as file:
            file.write(plan)
            os.fsync(file.fileno())
        making.replace(path)
    except OSError as error:
        making.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror}): choose another --bundle") from None
    bundle.plans[name] = identity
    bundle.files[path.name] = file_sha256(path)
    bundle.write()


def capability(device: torch.device) -> str:
    """The compute capability of a GPU: "8.6"."""
    return ".".join(map(str, torch.cuda.get_device_capability(device)))


def no_gpu(product: Any) -> str:
    """What to say where plans are to be built and there is no GPU."""
    if product.__name__ == RTX:
        return (
            "--engine trt: there is no GPU here to build for: name one with --compute-capability, "
            f"{RTX} {product.__version__} builds for {', '.join(capabilities(product))}"
        )
    return (
        "--engine trt: tensorrt builds on the GPU that will run the plans, and there is none here: make the files with "
        "--engine onnx, and on the GPU's machine give --engine trt --from-onnx BUNDLE"
    )


def _fits(bundle: Bundle, device: torch.device) -> bool:
    return all(capability(device) in bundle.plans[name]["compute_capability"] for name in ORDER)


def _sha256(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None


def _timing_cache(product: Any, device: torch.device) -> Path | None:
    try:
        directory = cache_directory()
    except SettingsError:  # without a home, every plan is timed again
        return None
    return directory / "timings" / cache_name(product, torch.cuda.get_device_name(device))
