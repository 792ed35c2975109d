"""Exported segmenters as TensorRT plans: what is checked before one is loaded.

A plan is code that TensorRT executes, so that only one whose sha256 is in the description beside it is loaded.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zodi.engines.bundle import file_sha256
from zodi.engines.devices import find_device
from zodi.engines.segmenter_metadata import read_metadata
from zodi.engines.segmenters import RunFile
from zodi.engines.trt_product import PRODUCTS, find_product, system_name
from zodi.errors import EngineError, ModelError
from zodi.segmenter.info import METADATA_KEY, FileInfo

AGAIN = "export it again with `zodi export-segmenter --format trt`"


def open_file(path: Path, *, device: str, threads: int | None) -> tuple[FileInfo, RunFile]:
    """See `zodi.engines.segmenters.open_segmenter`; threads do not matter on a GPU."""
    file, built = read_description(path)
    product = check_product(path, built)
    where = find_device(device)
    if where.type != "cuda":
        raise EngineError(f"{path}: TensorRT plans run on an NVIDIA GPU, and there is none that PyTorch sees")
    check_gpu(
        path, built, ".".join(map(str, torch.cuda.get_device_capability(where))), torch.cuda.get_device_name(where)
    )
    runner: RunFile = importlib.import_module("zodi.engines.segmenter_trt_run").Plan(product, path.read_bytes(), where)
    return file, runner


def read_description(path: Path) -> tuple[FileInfo, Mapping[str, Any]]:
    """What the .json beside a plan says of the segmenter, and of what the plan was built with and for.

    Raises ModelError where it is missing, or is of another plan.
    """
    described = path.with_name(path.name + ".json")
    if not described.is_file():
        raise ModelError(f"{described}: no such file: a plan is loaded only with the description made with it: {AGAIN}")
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        metadata, digest, built = content[METADATA_KEY], content["sha256"], dict(content["built"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{described}: is damaged ({type(error).__name__}: {error}): {AGAIN}") from None
    if digest != file_sha256(path):
        raise ModelError(f"{path}: is not the plan that {described.name} describes (its sha256 differs): {AGAIN}")
    return read_metadata(path, json.dumps(metadata)), built


def check_product(path: Path, built: Mapping[str, Any]) -> Any:
    """The TensorRT that a plan was built with. Raises ModelError for another version or system, EngineError without."""
    if built.get("product") not in PRODUCTS:  # a name from a file is not imported
        raise ModelError(f"{path}: is for {built.get('product')!r}, allowed are {', '.join(PRODUCTS)}: {AGAIN}")
    product = find_product((built["product"],))
    here = {"version": product.__version__, "os": system_name()}
    for key, value in here.items():
        if built.get(key) != value:
            raise ModelError(f"{path}: its {key} is {built.get(key)!r}, here it is {value!r}: {AGAIN}")
    return product


def check_gpu(path: Path, built: Mapping[str, Any], capability: str, name: str) -> None:
    """Raise ModelError unless the plan is for the compute capability, and, if tuned on a GPU, for that GPU."""
    if capability not in built["compute_capability"] or built["gpu"] not in (None, name):
        made_for = built["gpu"] or "compute capability " + ", ".join(built["compute_capability"])
        raise ModelError(f"{path}: is built for {made_for}, here is {name} ({capability}): {AGAIN}")
