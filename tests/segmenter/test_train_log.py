"""train.csv after a training that ended in the middle of a row."""

import csv

import pytest
from accelerate import Accelerator
from torch import tensor

from zodi.segmenter.state import LOG, TrainLog


def log_steps(directory, first, last, *, known):
    log = TrainLog(directory, known, enabled=True)
    for step in range(first, last + 1):
        log.add(step, 0, 0.5, {"loss": tensor(0.25)})
    log.flush(Accelerator(cpu=True))


@pytest.mark.parametrize("cut", [1, 2, 3, 9, 14])
def test_a_row_that_was_cut_short_is_none(tmp_path, cut):
    """The state is that after step 10; of step 12 only the beginning was written, which may read as step 1."""
    log_steps(tmp_path, 1, 12, known=0)
    path = tmp_path / LOG
    whole, last = path.read_bytes()[:-1].rsplit(b"\n", 1)
    assert last == b"12,0,0.5,0.25"
    path.write_bytes(whole + b"\n" + last[:cut])
    log_steps(tmp_path, 11, 12, known=10)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert [row[0] for row in rows] == ["step", *map(str, range(1, 13))]
    assert {len(row) for row in rows} == {4}
