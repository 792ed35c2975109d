"""Batches: the same for any number of workers and processes, from any step on, and never more than asked for."""

import threading
from dataclasses import replace

import pytest
import torch

from zodi.ahead import map_ahead
from zodi.data import open_dataset
from zodi.errors import DataError
from zodi.labels import IGNORE, LabelSet
from zodi.segmenter import cache
from zodi.segmenter.loading import SourceBatches


class Form:
    mean = std = (0.5, 0.5, 0.5)


def batches(data, quick, epoch=0, first=0, **options):
    return list(SourceBatches(open_dataset(None, data), quick, Form(), **options)(epoch, first))


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in ("image", "label"))


def test_shapes_and_drop_last(data, quick):
    found = batches(data, quick)
    assert len(found) == 3  # of seven images in batches of two
    for batch in found:
        assert batch["image"].shape == (2, 3, 32, 64)
        assert batch["image"].dtype == torch.float32
        assert batch["label"].shape == (2, 32, 64)
        assert batch["label"].dtype == torch.int64
        assert set(batch["label"].unique().tolist()) <= {0, 1, 2, 8, 10, 13, 255}
        assert 255 in batch["label"]


def test_workers_do_not_matter(data, quick):
    for one, many in zip(batches(data, quick, workers=1), batches(data, quick, workers=4), strict=True):
        assert equal(one, many)


def test_a_later_step_is_the_same_from_the_start_or_not(data, quick):
    assert equal(batches(data, quick, epoch=1)[2], batches(data, quick, epoch=1, first=2)[0])


def test_epochs_differ(data, quick):
    assert not equal(batches(data, quick, epoch=0)[0], batches(data, quick, epoch=1)[0])


def test_processes_share_a_batch(data, quick):
    whole = batches(data, quick)
    halves = [batches(data, quick, process=i, processes=2) for i in range(2)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert equal(batch, {name: torch.cat([first[name], second[name]]) for name in batch})


def test_without_memory_the_same(data, quick, monkeypatch):
    cached = batches(data, quick, epoch=1)
    monkeypatch.setattr(cache, "MEMORY_BYTES", 0)
    assert all(equal(a, b) for a, b in zip(cached, batches(data, quick, epoch=1), strict=True))


def test_files_are_read_once(data, quick):
    opened = SourceBatches(open_dataset(None, data), replace(quick, batch=7), Form())
    (before,) = opened(0, 0)
    for path in data.rglob("*.png"):
        path.unlink()
    (again,) = opened(0, 0)
    assert equal(before, again)


def test_labels_of_another_coding_are_not_those_of_the_cache(data, quick, tmp_path):
    """The folder holds train ids, which depend on the label set."""
    plain = open_dataset(None, data)
    turned = [c if c.train_id == IGNORE else replace(c, train_id=18 - c.train_id) for c in plain.label_set.classes]
    for dataset in (plain, replace(plain, label_set=LabelSet("turned", tuple(turned)))):
        fresh = list(SourceBatches(dataset, quick, Form())(0, 0))
        kept = list(SourceBatches(dataset, quick, Form(), cache=tmp_path / "cache")(0, 0))
        assert all(equal(a, b) for a, b in zip(fresh, kept, strict=True))


def test_a_bad_file_ends_the_epoch_with_its_name(data, quick):
    bad = sorted((data / "images").rglob("*.png"))[4]
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(DataError, match=bad.name):
        batches(data, quick)
        batches(data, quick, epoch=1)


def test_map_ahead_is_in_order_and_bounded():
    started = []
    lock = threading.Lock()

    def work(number):
        with lock:
            started.append(number)
        return number * number

    results = map_ahead(work, iter(range(100)), workers=4, ahead=6)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert max(started) <= 3 + 6
    results.close()
    assert list(map_ahead(work, range(10), workers=3, ahead=1)) == [i * i for i in range(10)]


def test_map_ahead_raises_where_the_result_would_be():
    def work(number):
        if number == 2:
            raise ValueError("two")
        return number

    results = map_ahead(work, range(50), workers=2, ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_rescaled_batches_are_the_same_for_any_number_of_processes_and_workers(data, quick):
    settings = replace(quick, scale=(0.5, 2.0))
    whole = batches(data, settings, workers=1)
    halves = [batches(data, settings, workers=3, process=i, processes=2) for i in range(2)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert equal(batch, {name: torch.cat([first[name], second[name]]) for name in batch})
    assert equal(batches(data, settings, epoch=1)[2], batches(data, settings, epoch=1, first=2)[0])
    assert not equal(whole[0], batches(data, quick)[0])
