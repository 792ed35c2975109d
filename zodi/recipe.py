"""What decides the results of a transfer besides its images, and how any process opens it."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from zodi.bundle_sizes import check_images, dataset_options
from zodi.data import Dataset, Sample
from zodi.data.sizes import count_sizes
from zodi.domains import Domain
from zodi.engines.bundle import Bundle, difference
from zodi.errors import ModelError
from zodi.labels import LabelSet
from zodi.opening import EngineChoice, FoundModel, ModelChoice, Notify, find_model, open_found
from zodi.town import bundled
from zodi.transfer.batches import Transfer
from zodi.transfer.items import Job, make_jobs
from zodi.transfer.pipeline import Run
from zodi.transfer.settings import TransferSettings, settings_hash


@dataclass(frozen=True)
class Recipe:
    """What decides the results of a run besides the images; any process can open it."""

    domains: tuple[Domain, ...]
    model: ModelChoice
    engine: EngineChoice
    settings: TransferSettings
    label_set: LabelSet
    judge: Path | None = None

    def find(self, notify: Notify, data: str = "") -> FoundModel:
        """The model's weights or bundle; `data`: options that name the images, for messages."""
        return find_model(
            self.model, self.engine,
            batch=self.settings.batch, image_size=self.settings.image_size, data=data, notify=notify,
        )  # fmt: skip

    def find_for(self, dataset: Dataset, samples: Sequence[Sample], *, allowed: int, notify: Notify) -> FoundModel:
        """As `find`, for images whose sizes are compared with those of a bundle; see `check_images`."""
        data = dataset_options(dataset)
        found = self.find(notify, data)
        if isinstance(found.source, Bundle):
            check_images(
                found.source, count_sizes(samples), self.settings.image_size,
                allowed=allowed, data=data, notify=notify,
            )  # fmt: skip
        return found

    def open_judge(self, device: torch.device) -> Any:
        """The judge, or None."""
        if self.judge is None:
            return None
        from zodi.segmenter.judge import open_judge

        return open_judge(self.judge, self.label_set, device, confident=self.settings.mask_disagreement)

    def describe(self, found: FoundModel, precision: str, device: str, judge: Any) -> dict[str, dict[str, Any]]:
        """The settings of each domain, see `TransferSettings.describe`."""
        engine = {"engine": found.engine, "precision": precision, "device": device}
        return {d.name: self.settings.describe(d, found.info, engine, judge and judge.hash) for d in self.domains}


@dataclass(frozen=True)
class OpenRecipe:
    """A recipe whose engine runs in this process; described: see `Recipe.describe`."""

    transfer: Transfer
    jobs: list[Job]
    described: dict[str, dict[str, Any]]
    files: dict[str, str]


@contextmanager
def open_recipe(
    recipe: Recipe,
    output: Path,
    *,
    found: FoundModel | None = None,
    log: Callable[..., None] = lambda event, **fields: None,
    notify: Notify = lambda message: None,
) -> Iterator[OpenRecipe]:
    """Open the engine and the judge, and encode the prompts; `found`: see `Recipe.find_for`."""
    with ExitStack() as stack:
        found = found or recipe.find(notify)
        opened = stack.enter_context(open_found(found, recipe.engine))
        judge = recipe.open_judge(opened.device)
        described = recipe.describe(found, opened.precision, opened.device.type, judge)
        hashes = {name: settings_hash(table) for name, table in described.items()}
        jobs = make_jobs(
            recipe.domains, hashes, recipe.settings,
            run=opened.run, info=found.info, tokenizer=found.tokenizer, device=opened.device,
        )  # fmt: skip

        @functools.cache
        def exact() -> Run:
            plain = replace(recipe, engine=EngineChoice("torch", "fp32", str(opened.device)))
            run: Run = stack.enter_context(open_found(plain.find(notify), plain.engine)).run
            return run

        transfer = Transfer(
            run=opened.run,
            info=found.info,
            device=opened.device,
            settings=recipe.settings,
            output=output,
            label_set=recipe.label_set,
            exact=exact if opened.precision != "fp32" and recipe.model.model is not None else None,
            judge=judge,
            log=log,
        )
        yield OpenRecipe(transfer, jobs, described, found.files)


@contextmanager
def open_same(
    recipe: Recipe, described: dict[str, dict[str, Any]], files: dict[str, str], output: Path, log: Callable[..., None]
) -> Iterator[tuple[Transfer, list[Job]]]:
    """Open a recipe in another process than the one that described it.

    Raises ModelError that names what is not the same here: the model, a file of the bundle, the judge, ...
    """
    with open_recipe(recipe, output, log=log) as opened:
        pairs = [(opened.files, files), *((opened.described[name], table) for name, table in described.items())]
        for here, there in pairs:
            name = difference(there, here)
            if name not in (None, "model", "controlnet"):  # names of the model, which may be paths
                raise ModelError(
                    f"{name} is {here.get(name)!r} here, {there.get(name)!r} where the run was started: "
                    "give every node the same model, bundle and judge"
                )
        yield opened.transfer, opened.jobs


def absolute(recipe: Recipe) -> Recipe:
    """The recipe with paths that hold in any working directory."""

    def whole(path: Path | None) -> Path | None:
        return path and path.absolute()

    def named(source: str | None) -> str | None:  # a hub id stays what it is, and so does the bundled model's name
        if source is None or source == bundled.NAME or not Path(source).is_dir():
            return source
        return str(Path(source).absolute())

    return replace(
        recipe,
        model=replace(recipe.model, model=named(recipe.model.model), controlnet=named(recipe.model.controlnet)),
        engine=replace(recipe.engine, bundle=whole(recipe.engine.bundle)),
        judge=whole(recipe.judge),
    )
