"""What a run has done so far: counts, and a row of the manifest for every result."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from zodi.errors import DataError, OutputError
from zodi.files import remove
from zodi.transfer.items import mask_path, result_path
from zodi.transfer.manifest import Manifest, Row

COUNTER = {"ok": "done", "failed": "failed", "quarantined": "quarantined"}


@dataclass
class Progress:
    """Counts of results (images times domains) so far, and what went wrong."""

    total: int
    done: int = 0
    skipped: int = 0
    failed: int = 0
    quarantined: int = 0
    failures: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def rate(self) -> float:
        """Results per second since the start, the skipped ones not counted."""
        return (self.done + self.quarantined) / max(time.perf_counter() - self.started, 1e-9)

    @property
    def finished(self) -> int:
        """Results that nothing more will be done for in this run."""
        return self.done + self.skipped + self.failed + self.quarantined


class Recorder:
    """Appends rows to the manifest and keeps the counts, wherever the results come from.

    max_failures  more failed results than this end the run
    log           told of every failure
    on_progress   called after every change of the counts
    """

    def __init__(
        self,
        total: int,
        manifest: Manifest,
        *,
        max_failures: int,
        log: Callable[..., None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.progress = Progress(total)
        self._manifest = manifest
        self._max_failures = max_failures
        self._log = log
        self._on_progress = on_progress

    def record(self, row: Row) -> None:
        """Take in a result that is written, or has failed.

        Raises OutputError where there is no space for its row; then the result goes, too: nobody would know it.
        """
        try:
            self._manifest.append(row)
        except OutputError:
            output = self._manifest.path.parent
            remove(result_path(output, row.domain, row.key, quarantined=row.status == "quarantined"))
            remove(mask_path(output, row.domain, row.key))
            raise
        progress, counter = self.progress, COUNTER[row.status]
        setattr(progress, counter, getattr(progress, counter) + 1)
        if row.status == "failed":
            progress.failures.append(f"{row.domain}/{row.key}: {row.error}")
            self._log("failed", domain=row.domain, key=row.key, error=row.error)
        self._on_progress(progress)

    def skip(self, count: int) -> None:
        """Take in results that were done before."""
        self.progress.skipped += count
        self._on_progress(self.progress)

    def check(self) -> None:
        """Raise DataError where too many have failed."""
        if self.progress.failed > self._max_failures:
            raise DataError(
                f"{self.progress.failed} results failed, allowed are {self._max_failures} (--max-failures): "
                f"the last was {self.progress.failures[-1]}"
            )
