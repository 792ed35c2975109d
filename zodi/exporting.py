"""The making and the checking of bundles, from what the user named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zodi.bundle_sizes import Images, sizes_for_images
from zodi.engines import file_precision, installed_engines
from zodi.engines.bundle import Bundle, default_directory, file_problems, open_bundle, read_bundle
from zodi.engines.choice import choose_engine
from zodi.engines.profile import Range, Sizes, make_sizes
from zodi.engines.trt_build import PlanChoice as PlanChoice
from zodi.engines.trt_plans import build_plans, find_target
from zodi.errors import EngineError, ModelError, SettingsError
from zodi.export.bundle import check_engine, copy_bundle, export_bundle
from zodi.model import ModelInfo
from zodi.opening import AUTO, USUAL_ASPECT, USUAL_BATCH, EngineChoice, ModelChoice, Notify, load_model

FILES = "onnx"  # in the place of an engine: the files for any of them


@dataclass(frozen=True)
class ExportChoice:
    """The sizes that a bundle is made for: height and width in pixels, images per batch (min, opt, max).

    size    (height, width), or the short side, or None for the model's image size; then images are twice as wide
    static  only images of that size; None: yes, with `images` where all of them become one size
    images  how many images of a data set have which (height, width): the bundle takes them all
    """

    size: tuple[int, int] | int | None = None
    batch: Range = (1, USUAL_BATCH, USUAL_BATCH)
    static: bool | None = None
    images: Images | None = None

    def sizes(self, info: ModelInfo) -> Sizes:
        """The sizes for a model; SettingsError where it cannot take them."""
        if self.images is not None:
            if isinstance(self.size, tuple):
                raise SettingsError(
                    "--image-size HxW contradicts --root, which gives the sizes: give the short side alone"
                )
            return sizes_for_images(self.images, info, self.size, self.batch, static=self.static)
        size = self.size or info.image_size
        both = (size, USUAL_ASPECT * size) if isinstance(size, int) else size
        return make_sizes(both, self.batch, static=self.static is not False, dims=info.dims)


def export_engines(
    model: ModelChoice | None = None,
    engine: EngineChoice | None = None,
    *,
    sizes: ExportChoice | None = None,
    from_onnx: Path | None = None,
    plans: PlanChoice | None = None,
    notify: Notify = lambda message: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Bundle:
    """Make a bundle and check it on the engine; what is current stays as it is.

    engine     its `engine` may be "onnx": make the files, which are checked on the CPU, and try no engine on them
    from_onnx  take the files of this bundle instead of a model's weights
    plans      how the engine "trt" is built
    notify     told what is done with each graph
    on_progress  told how far the building of plans is: steps done, all steps, and what is done now

    Raises ModelError, EngineError, SettingsError and OutputError; a file that does not compute what PyTorch computes is
    a ModelError.
    """
    model, engine, sizes = model or ModelChoice(), engine or EngineChoice(), sizes or ExportChoice()
    plans = plans or PlanChoice()
    name = engine.engine
    if name == AUTO:
        name = choose_engine(engine.device, engine.precision, without=["torch"])
    if name == "torch":
        raise SettingsError("the torch engine runs from the model's weights: there is nothing to export for it")
    if name == "trt":
        find_target(plans, engine.device)  # before minutes are spent on files
    elif plans != PlanChoice():
        raise SettingsError("compute capability, workspace and optimization level are for --engine trt")
    precision = file_precision(name, engine.precision)
    if from_onnx is not None:
        source = open_bundle(from_onnx, precision=precision)
        directory = engine.bundle or default_directory(source.info, precision)
        bundle = source if directory.resolve() == from_onnx.resolve() else copy_bundle(source, directory)
        notify(f"{len(source.graphs)} graphs taken from {from_onnx}")
    else:
        side = min(sizes.size) if isinstance(sizes.size, tuple) else sizes.size
        components = load_model(model, image_size=side, notify=notify)
        directory = engine.bundle or default_directory(components.info, precision)
        wanted = sizes.sizes(components.info)
        bundle = export_bundle(
            components,
            directory,
            precision=precision,
            sizes=wanted,
            report=lambda graph, done: notify(f"{graph} {done}"),
        )
    if name == FILES:
        return bundle
    if name == "trt":
        fits = build_plans(bundle, plans, device=engine.device, notify=notify, on_progress=on_progress)
        if not fits:
            notify("the plans were built but not run: the GPU that they are for is not here")
            return bundle
    state = check_engine(bundle, name, precision=engine.precision, device=engine.device, threads=engine.threads)
    bundle.engines[name] = state
    bundle.write()
    notify(f"{name} computes {state['precision']} on {state['device']}, as PyTorch does to rounding")
    return bundle


def verify_engines(directory: Path, engines: Sequence[str] = ()) -> dict[str, Any]:
    """Check every file of a bundle, and run its references on engines.

    engines  names; none: all that are installed and run from bundles

    Returns {"directory", "files", "graphs", "engines": {name: as `check_engine`}, "skipped": {name: reason},
    "problems"}; "problems" is empty where all is well. Raises ModelError where there is no bundle at all.
    """
    bundle = read_bundle(directory)
    problems = [f"{directory / name} {problem}" for name, problem in file_problems(bundle).items()]
    checked: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    if not problems:
        try:
            open_bundle(directory)
        except ModelError as error:
            problems.append(str(error))
    names = engines or [name for name in installed_engines() if name != "torch"]
    for name in names if not problems else ():
        try:
            checked[name] = check_engine(bundle, name, precision=bundle.precision)
        except ModelError as error:
            problems.append(str(error))
        except EngineError as error:
            if engines:
                problems.append(str(error))
            else:
                skipped[name] = str(error)
    return {
        "directory": str(directory),
        "files": len(bundle.files),
        "graphs": list(bundle.graphs),
        "engines": checked,
        "skipped": skipped,
        "problems": problems,
    }
