"""The files of a model, in a directory or a hub repository: small ones are read here, and every fault gets one line."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from zodi.errors import ModelError

T = TypeVar("T")

STEMS = {"text_encoder": "model"}  # of a part's weight files, where it is not STEM
STEM = "diffusion_pytorch_model"
PICKLES = (".bin", ".ckpt", ".pth", ".pt")
POINTER = b"version https://git-lfs"


def attempt(part: str, source: str, load: Callable[[], T]) -> T:
    """Call `load`; what the libraries raise for missing, damaged or unreachable files becomes one line."""
    try:
        return load()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if Path(source).is_dir():
            hint = "the directory must be in diffusers format with .safetensors weights"
        else:
            hint = "it is no directory, and loading it from the Hugging Face hub failed: check the id and the network"
        raise ModelError(f"{source}: cannot load {part}: {hint} ({first[:200]})") from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError" and type(error) is not Exception:  # as tokenizers raises
            raise
        raise ModelError(f"{source}: the files of {part} are damaged ({error}): fetch them again") from None


def check_source(source: str, kind: str) -> None:
    """Refuse by name what is neither a directory nor a hub id; a checkpoint in one file with the line that converts it.

    kind  "model" or "controlnet"
    """
    path = Path(source)
    if path.is_file():
        raise ModelError(_single_file(path, kind))
    if "://" in source:
        raise ModelError(f"{source}: is a URL: give a hub id (OWNER/NAME) or a directory")
    if not path.is_dir() and (path.is_absolute() or source.startswith((".", "~"))):
        raise ModelError(f"{source}: no such directory: give a model directory or a hub id")
    if (path / "bundle.json").is_file():
        raise ModelError(f"{source}: is a bundle: give it as --bundle with --engine, and no --{kind}")


def read_json(source: str, name: str, revision: str | None = None) -> dict[str, Any]:
    """A JSON object from a model's files; ModelError where it is missing, damaged or something else."""
    path = Path(source, name)
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download

        path = Path(attempt(name, source, lambda: hf_hub_download(source, name, revision=revision)))
    if not path.is_file():
        missing = _dangling(path) or "no such file: the directory must be in diffusers format"
        raise ModelError(f"{source}: cannot load {name}: {missing}")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: {name} is not valid JSON ({error}): fetch or write it again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{source}: {name} holds a {type(content).__name__}, it must be a JSON object")
    return content


def part_files(source: str, folder: str, revision: str | None) -> list[str]:
    """Names of the files in a folder of a model, "" for its own; empty where a hub does not answer."""
    if Path(source).is_dir():
        place = Path(source, folder)
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    from huggingface_hub import HfApi

    try:
        names = HfApi().list_repo_files(source, revision=revision)
    except Exception:  # of whatever kind: the list only explains another error, which is raised then
        return []
    start = f"{folder}/" if folder else ""
    return sorted(name.removeprefix(start) for name in names if name.startswith(start))


def weights_fault(part: str, source: str, folder: str, revision: str | None) -> str | None:
    """Why a part's weights cannot be loaded, from the files that are there, and what to do; None where that is fine."""
    stem, names = STEMS.get(part, STEM), part_files(source, folder, revision)
    for name in names:
        path = Path(source, folder, name)
        if name.startswith(stem) and (fault := _dangling(path) or _pointer(path)):
            return fault
    shard = r"(?:-\d+-of-\d+)?"
    found = [match[1] for name in names if (match := re.fullmatch(rf"{stem}{shard}\.?(.*?){shard}\.safetensors", name))]
    if "" in found:
        return None
    if found:
        options = " or ".join(f"--variant {shlex.quote(variant)}" for variant in sorted(set(found)))
        return f"it has weights of the variant {' and '.join(sorted(set(found)))} only: use {options}"
    if pickled := [name for name in names if name.endswith(PICKLES)]:
        return (
            f"it has pickled weights only ({pickled[0]}), which could run code and are not read: "
            "load them in diffusers with use_safetensors=False and save them with save_pretrained"
        )
    return None


def _dangling(path: Path) -> str | None:
    if not path.is_symlink() or path.exists():
        return None
    return f"{path.name} is a link to {path.readlink()}, which is not here: fetch it (git annex get, dvc pull)"


def _pointer(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        pointer = file.read(len(POINTER)) == POINTER
    return f"{path.name} is a Git LFS pointer, not the file itself: fetch it with git lfs pull" if pointer else None


def _single_file(path: Path, kind: str) -> str:
    if path.suffix not in (".safetensors", *PICKLES):
        return f"{path}: is a file: give a directory in diffusers format or a hub id"
    index, weights = ("model_index.json", "unet") if kind == "model" else ("config.json", "")
    config = ""
    for directory in list(path.absolute().parents)[:2]:
        if (directory / index).is_file():
            if any(name.endswith(".safetensors") for name in part_files(str(directory), weights, None)):
                return f"{path}: is a file of a {kind} in diffusers format: give its directory, {directory}"
            config = f", config={str(directory)!r}"
    name = {"model": "StableDiffusionPipeline", "controlnet": "ControlNetModel"}[kind]
    load = f"M.from_single_file({str(path)!r}{config})"
    code = f"from diffusers import {name} as M; {load}.save_pretrained({path.stem!r})"
    return (
        f"{path}: is a {kind} in one file, zodi reads directories in diffusers format: convert it once with "
        f"python -c {shlex.quote(code)} and give --{kind} {shlex.quote(path.stem)}"
        + ("" if config else "; without network add config='DIR', a directory in diffusers format of the same family")
    )
