"""From what the user named (model, engine, bundle) to an open engine."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zodi.engines import Engine, file_precision, open_engine
from zodi.engines.bundle import (
    BUNDLE_FILE,
    Bundle,
    default_directory,
    export_command,
    load_tokenizer,
    open_bundle,
)
from zodi.engines.choice import choose_engine
from zodi.engines.components import Components, load_components
from zodi.engines.profile import Sizes
from zodi.errors import ModelError, SettingsError
from zodi.export.bundle import export_bundle
from zodi.model import ModelInfo
from zodi.town import bundled

Notify = Callable[[str], None]
AUTO = "auto"
USUAL_BATCH = 4  # largest that a bundle is made for unless asked for
USUAL_ASPECT = 2  # width / height of Cityscapes, ACDC and most street data sets


@dataclass(frozen=True)
class ModelChoice:
    """A diffusion model: "town" (bundled), a hub id or a directory; see `zodi.engines.components.load_components`.

    model  None: the one in the bundle that `EngineChoice` names
    """

    model: str | None = bundled.NAME
    controlnet: str | None = None
    variant: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class EngineChoice:
    """What the model runs on; see `zodi.engines.open_engine`.

    engine  also "auto": the fastest exact one
    bundle  where the model's files for engines other than torch are; None: in the user's cache
    """

    engine: str = "torch"
    precision: str = "fp32"
    device: str = "auto"
    bundle: Path | None = None
    threads: int | None = None


@dataclass(frozen=True)
class FoundModel:
    """A model that was named, not open yet.

    engine  the engine's name, chosen where "auto" was asked for
    source  what the engine runs, see `zodi.engines.open_engine`
    """

    engine: str
    source: Components | Bundle
    info: ModelInfo
    tokenizer: Any

    @property
    def files(self) -> dict[str, str]:
        """sha256 of the bundle's graphs by file name; empty where the engine runs from the weights."""
        files = self.source.files if isinstance(self.source, Bundle) else {}
        return {name: digest for name, digest in files.items() if name.endswith((".onnx", ".onnx.data"))}


@contextmanager
def open_model(
    model: ModelChoice,
    engine: EngineChoice,
    *,
    batch: int = 1,
    image_size: int | None = None,
    notify: Notify = lambda message: None,
) -> Iterator[tuple[Engine, ModelInfo, Any]]:
    """The engine on the model, what is known of the model, and its tokenizer; arguments as those of `find_model`."""
    found = find_model(model, engine, batch=batch, image_size=image_size, notify=notify)
    with open_found(found, engine) as opened:
        yield opened, found.info, found.tokenizer


def open_found(found: FoundModel, engine: EngineChoice) -> AbstractContextManager[Engine]:
    """The engine on a model that was found; weights belong to the engine from then on."""
    return open_engine(
        found.source, found.engine, precision=engine.precision, device=engine.device, threads=engine.threads
    )


def find_model(
    model: ModelChoice,
    engine: EngineChoice,
    *,
    batch: int = 1,
    image_size: int | None = None,
    data: str = "",
    notify: Notify = lambda message: None,
) -> FoundModel:
    """The model's weights, or its verified bundle.

    batch, image_size  what the run needs, checked against the bundle before anything is written
    data               options that name the images, for the command that makes a missing bundle
    notify             told what was chosen or made without being asked for
    """
    name = choose_engine(engine.device, engine.precision) if engine.engine == AUTO else engine.engine
    if name == "torch" and engine.bundle is not None:
        raise SettingsError(
            "--bundle is for engines that run from files (ort, openvino, trt): torch runs from the weights"
        )
    components = None
    if model.model is not None or engine.bundle is None:
        components = load_model(model, image_size=image_size, notify=notify)
    source: Components | Bundle | None = components
    if name != "torch":
        source = find_bundle(model, engine, name, components, notify, batch=batch, image_size=image_size, data=data)
    if engine.engine == AUTO:
        name = name if source is not None else "torch"
        notify(f"engine: {name}, the fastest exact one " + ("here" if source is not None else "without a bundle"))
    if isinstance(source, Bundle):  # the weights are in the files
        check_run(source, batch, image_size)
        return FoundModel(name, source, source.info, load_tokenizer(source))
    assert components is not None
    return FoundModel(name, components, components.info, components.tokenizer)


def find_bundle(
    model: ModelChoice,
    engine: EngineChoice,
    name: str,
    components: Components | None,
    notify: Notify,
    *,
    batch: int = 1,
    image_size: int | None = None,
    data: str = "",
) -> Bundle | None:
    """The verified bundle of the model; made on the spot for the model that ships with zodi.

    Returns None where there is none and the engine is chosen automatically, else raises ModelError that says how to
    make one, and SettingsError where there is no place for one.
    """
    precision = file_precision(name, engine.precision)
    if components is None:
        assert engine.bundle is not None
        return open_bundle(engine.bundle, precision=precision)
    info = components.info
    try:
        directory = engine.bundle or default_directory(info, precision)
    except SettingsError as error:
        if engine.engine != AUTO:
            raise
        notify(str(error))
        return None
    if (directory / BUNDLE_FILE).is_file():
        return open_bundle(directory, weights=info.hash, precision=precision)
    if model.model == bundled.NAME and model.controlnet is None:
        notify(f"building the ONNX files of the bundled model, once, in {directory}")
        return build_bundled(components, directory, precision)
    command = export_command(str(model.model), model.controlnet, model.variant, model.revision)
    command += f" --engine {name}" if name == "trt" else ""
    command += f" --precision {precision}" if precision != "fp32" else ""
    command += f" --image-size {image_size}" if image_size else ""
    command += f" {data}" if data else ""
    command += f" --batch 1:{batch}:{batch}" if batch > USUAL_BATCH else ""
    command += f" --bundle {shlex.quote(str(engine.bundle))}" if engine.bundle else ""
    if engine.engine == AUTO:
        notify(f"there is no bundle in {directory}; this would make one, for a faster engine: {command}")
        return None
    raise ModelError(f"--engine {name} runs from a bundle, and there is none in {directory}: make it with {command}")


def build_bundled(components: Components, directory: Path, precision: str) -> Bundle:
    """Export the bundled model for any size, using the components up; the directory appears whole or not at all."""
    info = components.info
    side, least = info.image_size, info.dims.multiple
    sizes = Sizes((1, 4, 64), (least, side, 8 * side), (least, USUAL_ASPECT * side, 8 * side))
    making = directory.with_name(f"{directory.name}.{os.getpid()}.tmp")
    try:
        export_bundle(components, making, precision=precision, sizes=sizes)
        if not directory.exists():  # else another process was first
            making.rename(directory)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return open_bundle(directory, weights=info.hash, precision=precision)


def check_run(bundle: Bundle, batch: int, image_size: int | None) -> None:
    """Raise SettingsError where the bundle is not made for the run's batch or image size."""
    low, _, high = bundle.sizes.batch
    shape, of_batch, kind = bundle.sizes.options
    if not low <= batch <= high:
        again = bundle.rebuild_with(shape, f"--batch {min(low, batch)}:{batch}:{batch}", kind)
        raise SettingsError(
            f"{bundle.directory}: is made for batches of {low} to {high}, the run's is {batch}: "
            f"use --batch {high}, or export again: {again}"
        )
    side, short = image_size or bundle.info.image_size, min(bundle.sizes.height[1], bundle.sizes.width[1])
    if bundle.sizes.static and side != short:
        again = bundle.rebuild_with(f"--image-size {side}", of_batch, kind)
        raise SettingsError(
            f"{bundle.directory}: is made for images of {shape.split()[1]}, the run's short side is {side}: "
            f"use --image-size {short}, or export again: {again}"
        )


def load_model(
    model: ModelChoice, *, image_size: int | None = None, notify: Notify = lambda message: None
) -> Components:
    """The parts of a model that was named; image_size and notify: see `zodi.engines.components.load_components`."""
    assert model.model is not None
    here = model.model == bundled.NAME
    components = load_components(
        str(bundled.DIRECTORY) if here else model.model,
        model.controlnet,
        variant=model.variant,
        revision=model.revision,
        image_size=image_size,
        notify=notify,
    )
    if here:  # commands and results name it as the user does
        components.info = replace(components.info, name=bundled.NAME)
    return components
