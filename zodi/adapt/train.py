"""From a labelled source and its synthetic images to an adapted segmenter: a training whose items are pairs."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zodi.adapt.checks import check_adaptation
from zodi.adapt.loading import PairBatches
from zodi.adapt.objective import make_pair_loss
from zodi.adapt.pairs import Pair, find_pairs, in_holdout
from zodi.adapt.settings import AdaptSettings
from zodi.adapt.validation import Validation
from zodi.data import Dataset
from zodi.engines.devices import find_device
from zodi.errors import DataError, SettingsError
from zodi.segmenter.failures import Failures
from zodi.segmenter.record import file_bytes, image_size
from zodi.segmenter.settings import TrainSettings
from zodi.segmenter.task import Task
from zodi.segmenter.train import TrainResult, train


def adapt(
    dataset: Dataset,
    synthetic: Sequence[Path],
    output: Path,
    settings: TrainSettings,
    adapting: AdaptSettings,
    *,
    device: str = "auto",
    workers: int = 2,
    cache: Path | None = None,
    failures: Failures | None = None,
    **options: Any,
) -> TrainResult:
    """Train on pairs of source and synthetic images, or on a baseline with the same budget.

    synthetic  outputs of transfers, or single domains of them; of all there is one model
    options    init, save_every, restart, allow_changed_files, tracker, notify, on_progress, stopped: see `train`

    Raises as `train`, and DataError that names an image whose partner is missing.
    """
    if settings.freeze and adapting.norm_statistics == "synthetic":
        raise SettingsError(
            f"freeze {' and '.join(settings.freeze)} keeps statistics that norm_statistics synthetic takes anew: "
            "use --norm-statistics both"
        )
    settings = settings.resolved(image_size(dataset))
    failures = failures or Failures()  # where nobody is told, nothing is left out
    pairs = collect(dataset, synthetic, adapting)
    kept_out = [pair for pair in pairs if adapting.validate and in_holdout(pair.sample.key, adapting.holdout)]
    out = {pair.sample.key for pair in kept_out}
    training = [pair for pair in pairs if pair.sample.key not in out]
    if adapting.validate and not kept_out:
        raise SettingsError(f"holdout {adapting.holdout} keeps out none of {len(pairs)} images: use a larger share")
    validation = None
    if adapting.validate:
        validation = partial(
            Validation,
            dataset,
            kept_out,
            device=find_device(device),
            failures=failures,
            synthetic=adapting.validate == "synthetic",
            keep_best=adapting.selection == "synthetic-val",
            workers=workers,
            cache=cache,
            tell=options.get("notify", lambda message: None),
        )
    task = Task(
        partial(
            PairBatches,
            dataset,
            training,
            settings,
            baseline=adapting.baseline,
            workers=workers,
            cache=cache,
            failures=failures,
        ),
        partial(make_pair_loss, 0.0 if adapting.baseline else adapting.similarity),
        [pair.sample for pair in training],
        partial(check_adaptation, dataset, training, kept_out, settings, adapting, failures, workers),
        described=adapting.described() | describe_pairs(training),
        files=synthetic_files(training),
        validation=validation,
        statistics="synthetic" if adapting.norm_statistics == "synthetic" else None,
    )
    return train(
        dataset,
        output,
        settings,
        task=task,
        device=device,
        workers=workers,
        failures=failures,
        **options,
    )


def collect(dataset: Dataset, synthetic: Sequence[Path], adapting: AdaptSettings) -> list[Pair]:
    """The pairs that settings speak of; a baseline's have no partners unless they are to be scored.

    Raises SettingsError where synthetic images are missing or of no use, and DataError.
    """
    if adapting.baseline is None and not synthetic:
        raise SettingsError("there are no synthetic images: give the output of zodi transfer with --synthetic")
    if adapting.validate == "synthetic" and not synthetic:
        raise SettingsError("validate synthetic needs synthetic images: give them with --synthetic")
    if adapting.baseline and synthetic and adapting.validate != "synthetic":
        raise SettingsError(f"baseline {adapting.baseline} uses no synthetic images: leave out --synthetic")
    if synthetic:
        return find_pairs(dataset, synthetic)
    unlabelled = next((sample for sample in dataset.samples if sample.label is None), None)
    if unlabelled is not None:
        raise DataError(f"{unlabelled.image}: has no label: adaptation needs one for every source image")
    return [Pair(sample, ()) for sample in dataset.samples]


def describe_pairs(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What of the synthetic images decides the weights: their domains and number, and whether files changed."""
    files = [
        f"{pair.sample.key} {p.domain} {file_bytes(p.image)} {file_bytes(p.mask) if p.mask else 0}"
        for pair in pairs
        for p in pair.partners
    ]
    return {
        "domains": sorted({p.domain for pair in pairs for p in pair.partners}),
        "pairs": len(pairs),
        "synthetic_images": len(files),
        "synthetic_sha256": hashlib.sha256("\n".join(files).encode(errors="surrogateescape")).hexdigest(),
    }


def synthetic_files(pairs: Sequence[Pair]) -> dict[str, int]:
    """The bytes of each synthetic image and mask, by its path in the transfer's output."""
    files = {}
    for pair in pairs:
        for partner in pair.partners:
            files[f"{partner.domain}/{pair.sample.key}.png"] = file_bytes(partner.image)
            if partner.mask is not None:
                files[f"masks/{partner.domain}/{pair.sample.key}.png"] = file_bytes(partner.mask)
    return files
