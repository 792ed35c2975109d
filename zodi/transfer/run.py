"""A run over a data set: read ahead, transfer in batches, write behind, record every image; resumable at any point."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress

from zodi.ahead import map_ahead
from zodi.data import Dataset, Sample
from zodi.data.images import read_header
from zodi.errors import DataError, EngineError, OutputError
from zodi.transfer.batches import Batches, Transfer
from zodi.transfer.items import Item, Job, load_item, size_of
from zodi.transfer.manifest import Manifest, Row
from zodi.transfer.progress import Progress, Recorder
from zodi.transfer.results import Result, failed_row, write_result


def transfer_dataset(
    transfer: Transfer,
    dataset: Dataset,
    samples: Sequence[Sample],
    jobs: Sequence[Job],
    *,
    manifest: Manifest,
    rows: Mapping[tuple[str, str], Row],
    max_failures: int,
    workers: int,
    stopped: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Transfer what `rows` does not show as done; each result is written, then recorded in the manifest.

    max_failures  more failed results than this end the run
    workers       threads that read ahead, and as many that write
    stopped       asked before each batch; True ends the run after the images in flight
    on_progress   called after every change of the counts

    Raises DataError above max_failures, OutputError where nothing can be written, EngineError where no image fits into
    memory; what is done stays recorded.
    """
    settings = transfer.settings
    recorder = Recorder(
        len(samples) * len(jobs), manifest, max_failures=max_failures, log=transfer.log, on_progress=on_progress
    )
    batches = Batches(transfer, jobs)
    writing: deque[Future[Row]] = deque()

    def record_written(keep: int) -> None:
        while len(writing) > keep:
            recorder.record(writing.popleft().result())
        recorder.check()

    def load(sample: Sample) -> Item | DataError | None:
        return load_item(
            dataset, sample, jobs, output=transfer.output, rows=rows, info=transfer.info, settings=settings
        )

    loading = map_ahead(load, samples, workers, ahead=2 * settings.batch)
    with closing(loading) as loaded_items, ThreadPoolExecutor(workers) as writers:

        def write(results: Iterator[Result]) -> None:
            for result in results:
                writing.append(writers.submit(write_result, result, settings, transfer.label_set, transfer.output))
                if batches.too_large and not batches.made and not recorder.progress.skipped:
                    _check_smaller(*batches.too_large, samples, transfer)
            record_written(keep=2 * settings.batch * len(jobs))

        try:
            for sample, loaded in zip(samples, loaded_items, strict=True):
                if stopped():
                    break
                if isinstance(loaded, DataError):
                    for job in jobs:
                        recorder.record(failed_row(sample, job, settings, str(loaded)))
                    recorder.check()
                    continue
                recorder.skip(len(jobs) - (len(loaded.pending) if loaded else 0))
                if loaded is not None:
                    write(batches.add(loaded))
            while batches and not stopped():  # drawing again may fill new ones
                write(batches.flush())
        finally:
            _record_all(recorder, writing)
    recorder.check()
    return recorder.progress


def _check_smaller(pixels: int, failure: str, samples: Sequence[Sample], transfer: Transfer) -> None:
    """Raise EngineError where no image of the run has fewer pixels than one that did not fit into memory."""
    for sample in samples:
        with suppress(DataError):  # a file that cannot be read is told when it is its turn
            height, width = size_of(read_header(sample.image).size, transfer.info, transfer.settings)
            if height * width < pixels:
                return
    raise EngineError(f"{failure}; no image of the run is smaller")


def _record_all(recorder: Recorder, writing: deque[Future[Row]]) -> None:
    """Record what is written or being written, each whatever becomes of the others; then raise the first error."""
    errors = []
    while writing:
        try:
            recorder.record(writing.popleft().result())
        except OutputError as error:
            errors.append(error)
    if errors:
        raise errors[0]
