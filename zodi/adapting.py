"""`zodi adapt` and `zodi estimate` as functions: where source, synthetic images and segmenters are put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zodi.adapt.settings import AdaptSettings
from zodi.data import Dataset
from zodi.data.label_meaning import check_labels
from zodi.errors import DataError
from zodi.labels import LabelSet
from zodi.segmenter.failures import MAX_FAILURES, Failures
from zodi.segmenter.loop import Progress
from zodi.segmenter.settings import TrainSettings

if TYPE_CHECKING:
    from zodi.segmenter.evaluate import EvaluateSettings


@dataclass(frozen=True)
class AdaptResult:
    """What a training left.

    output    where its files are: the checkpoint directory; of a restarted training that is not finished a folder in it
    steps     of the whole training
    seconds   of this call
    finished  False where it was stopped
    main      False in all processes of a training but one, which alone writes and tells
    oracle    scores on labelled targets, as `zodi evaluate --json` writes them; None where none was given
    skipped   steps that changed nothing, as all labels of their batch were void
    failures  one line for each image or label that could not be used
    """

    output: Path
    steps: int
    seconds: float
    finished: bool
    main: bool
    oracle: dict[str, Any] | None
    skipped: int = 0
    failures: tuple[str, ...] = ()


def run_adapt(
    dataset: Dataset,
    output: Path,
    settings: TrainSettings,
    *,
    synthetic: Sequence[Path] = (),
    adapting: AdaptSettings | None = None,
    targets: Sequence[Dataset] = (),
    device: str = "auto",
    workers: int = 2,
    max_failures: int = MAX_FAILURES,
    notify: Callable[[str], None] = lambda message: None,
    on_progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
    **options: Any,
) -> AdaptResult:
    """Train a segmenter on a labelled source, and on synthetic images of it or a baseline where `adapting` is given.

    synthetic  outputs of transfers; see `zodi.adapt.train.adapt`
    adapting   None: a plain training on the source
    targets    labelled data sets that the finished segmenter is scored on, for the record only
    max_failures  images and labels that cannot be used and may be left out; more are an error
    notify     told of each of these, and what else the user should know before the first step
    options    init, cache, save_every, restart, allow_changed_files, tracker: see `zodi.segmenter.train.train`

    Raises SettingsError, DataError, ModelError, EngineError and OutputError.
    """
    from zodi.adapt.curves import write_curves
    from zodi.adapt.train import adapt
    from zodi.engines.devices import find_device
    from zodi.segmenter.checkpoint import load_checkpoint
    from zodi.segmenter.evaluate import EvaluateSettings, as_json
    from zodi.segmenter.evaluate import evaluate as score
    from zodi.segmenter.pictures import write_confusion
    from zodi.segmenter.train import train

    failures = Failures(max_failures, lambda message: notify(f"left out: {message}"))
    same: dict[str, Any] = {"device": device, "workers": workers, "failures": failures, "notify": notify}
    same |= {"on_progress": on_progress, "stopped": stopped}
    for target in targets:
        check_same_classes(dataset.label_set, target)
    for labelled in (dataset, *targets):
        check_labels(labelled, notify)
    if adapting is None:
        result = train(dataset, output, settings, **same, **options)
    else:
        result = adapt(dataset, synthetic, output, settings, adapting, **same, **options)
    oracle = None
    if result.finished and result.main:
        write_curves(output)
    if result.finished and result.main and targets:
        segmenter = load_checkpoint(output, device=find_device(device))
        scores = score(segmenter, targets, workers=workers, failures=failures)
        for number, found in enumerate(scores, start=1):
            write_confusion(output / f"confusion-oracle-{number}.png", found)
        oracle = as_json(output, EvaluateSettings().declared(segmenter), scores)
    return AdaptResult(
        result.output,
        result.steps,
        result.seconds,
        result.finished,
        result.main,
        oracle,
        result.skipped,
        tuple(failures.messages),
    )


def evaluate(
    model: Path,
    datasets: Sequence[Dataset],
    settings: "EvaluateSettings | None" = None,
    *,
    device: str = "auto",
    max_failures: int = MAX_FAILURES,
    notify: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> dict[str, Any]:
    """IoU by class, mean IoU and pixel accuracy on labelled images, what `zodi evaluate --json` writes; 0..1.

    model    a checkpoint directory or a file that `zodi export-segmenter` made
    max_failures  images and labels that cannot be used and may be left out, each of which `notify` is told
    options  workers, on_image, on_progress: see `zodi.segmenter.evaluate.evaluate`

    Raises ModelError, EngineError, and DataError for other classes, for more images that cannot be used, and where
    there is nothing to score.
    """
    from zodi.segmenter.evaluate import EvaluateSettings, as_json
    from zodi.segmenter.evaluate import evaluate as score
    from zodi.segmenter.model import open_model

    for dataset in datasets:
        check_labels(dataset, notify)
    segmenter = open_model(model, device)
    settings = settings or EvaluateSettings()
    failures = Failures(max_failures, lambda message: notify(f"left out: {message}"))
    scores = score(segmenter, datasets, settings, failures=failures, **options)
    return as_json(model, settings.declared(segmenter), scores, failures.messages)


def check_same_classes(label_set: LabelSet, target: Dataset) -> None:
    """Raise DataError, before hours of training, for a target of other classes than the source."""
    if target.label_set.names != label_set.names:
        raise DataError(
            f"{target.root}: label set {target.label_set.name!r} has other classes than the source's "
            f"{label_set.name!r}: choose the same with --label-set"
        )


def estimate_target(
    checkpoint: Path,
    dataset: Dataset,
    synthetic: Sequence[Path],
    *,
    device: str = "auto",
    notify: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Estimated mIoU in each domain of transferred images: {"domain", "images", "miou", "low", "high", "iou"}, 0..1.

    notify   told what is odd about the labels
    options  holdout, resamples, seed, workers, failures, on_progress: see `zodi.adapt.estimate.estimate`

    Raises ModelError for a checkpoint of other classes, and DataError.
    """
    from zodi.adapt.estimate import estimate
    from zodi.engines.devices import find_device
    from zodi.segmenter.judge import open_judge

    check_labels(dataset, notify)
    judge = open_judge(checkpoint, dataset.label_set, find_device(device))
    return [row.as_json(dataset.label_set.names) for row in estimate(judge, dataset, synthetic, **options)]
