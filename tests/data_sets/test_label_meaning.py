"""Labels that are read as something else than they are: found over the whole set, with the right kind named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zodi.api import evaluate, run_adapt, run_transfer
from zodi.data import Dataset, open_dataset, read_train_ids
from zodi.data.check import check_dataset
from zodi.data.label_meaning import check_labels
from zodi.domains import find_domain
from zodi.errors import DataError
from zodi.labels import CAMVID_11, CITYSCAPES_19, IGNORE
from zodi.segmenter.settings import make_settings
from zodi.town import render

Ids = np.ndarray
Encode = Callable[[Ids], Image.Image]

SCENES = [render(number, "clear", (64, 128)) for number in range(4)]
GTA = np.zeros((256, 3), np.uint8)  # the palette of GTA5's labels
GTA[:34] = CITYSCAPES_19.id_colours[:34]


def ids_of(train_ids: Ids) -> Ids:
    return CITYSCAPES_19.train_id_to_id[train_ids]


def with_palette(values: Ids, palette: Ids) -> Image.Image:
    image = Image.fromarray(values)
    image.putpalette(palette.ravel().tolist())
    return image


def without_bonnet(train_ids: Ids) -> Ids:
    return np.where(np.arange(64)[:, None] > 58, IGNORE, train_ids).astype(np.uint8)


def coloured(train_ids: Ids) -> Image.Image:
    return with_palette(ids_of(train_ids), GTA).convert("RGB")


def renumbered(train_ids: Ids) -> Image.Image:
    """As GIMP and "pngquant" do it: the same picture, indices in an order of their own."""
    return coloured(train_ids).quantize(64, method=Image.Quantize.MEDIANCUT)


def adaptive(train_ids: Ids) -> Image.Image:
    return coloured(train_ids).convert("P", palette=Image.Palette.ADAPTIVE)


def make(root: Path, encode: Encode, layout: str = "gta5", **options: object) -> Dataset:
    for number, (image, train_ids) in enumerate(SCENES):
        for kind, picture in (("images", Image.fromarray(image)), ("labels", encode(train_ids))):
            (root / kind).mkdir(parents=True, exist_ok=True)
            picture.save(root / kind / f"{number:05d}.png")
    return open_dataset(layout, root, **{"label_set": "cityscapes", **options})


RIGHT: dict[str, tuple[Encode, str]] = {
    "ids": (lambda t: Image.fromarray(ids_of(t)), "ids"),
    "ids with GTA5's palette": (lambda t: with_palette(ids_of(t), GTA), "ids"),
    "ids with a palette of other colours": (
        lambda t: with_palette(ids_of(t), np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)), "ids",
    ),
    "train ids": (lambda t: Image.fromarray(without_bonnet(t)), "train-ids"),
    "train ids with the colours of the classes": (lambda t: with_palette(t, CITYSCAPES_19.palette), "train-ids"),
    "colours": (coloured, "colours"),
    "colours in a palette": (renumbered, "colours"),
}  # fmt: skip


def with_licence_plate(train_ids: Ids) -> Ids:
    ids = ids_of(train_ids)
    ids[:2, :9] = 34  # an id of GTA5's that is in no table of Cityscapes, in the colour of cars
    return ids


def test_ids_that_are_not_listed_are_void_in_gta5_and_no_sign_of_another_kind(tmp_path: Path) -> None:
    palette = GTA.copy()
    palette[34] = 0, 0, 142
    dataset = make(tmp_path, lambda t: with_palette(with_licence_plate(t), palette))
    told: list[str] = []
    check_labels(dataset, told.append)
    assert told == []


@pytest.mark.parametrize("form", list(RIGHT))
def test_right_labels_are_neither_wrong_nor_odd(form: str, tmp_path: Path) -> None:
    encode, kind = RIGHT[form]
    dataset = make(tmp_path, encode, labels=kind)
    told: list[str] = []
    check_labels(dataset, told.append)
    assert told == []
    for sample, (_, train_ids) in zip(dataset.samples, SCENES, strict=True):
        read, valid = read_train_ids(dataset, sample), np.arange(64) <= 58
        assert np.array_equal(read[valid], train_ids[valid])


WRONG: dict[str, tuple[Encode, str, str]] = {  # what is made, as what it is read, and what is said
    "train ids, with void": (lambda t: Image.fromarray(without_bonnet(t)), "ids", "--labels train-ids"),
    "train ids, without void": (Image.fromarray, "ids", "--labels train-ids"),
    "train ids with the colours of the classes": (
        lambda t: with_palette(t, CITYSCAPES_19.palette), "ids", "palettes that contradict .* --labels train-ids",
    ),
    "ids as train ids": (lambda t: Image.fromarray(ids_of(t)), "train-ids", "--labels ids"),
    "ids with GTA5's palette, as train ids": (
        lambda t: with_palette(ids_of(t), GTA), "train-ids", "palettes that contradict .* --labels ids",
    ),
    "a grey copy of a palette": (lambda t: with_palette(ids_of(t), GTA).convert("L"), "ids", "grey tones"),
    "a grey copy, as train ids": (lambda t: with_palette(ids_of(t), GTA).convert("L"), "train-ids", "grey tones"),
    "indices of a program's own": (renumbered, "ids", "palettes that contradict .* --labels colours"),
    "indices of an adaptive palette": (adaptive, "ids", "palettes that contradict .* --labels colours"),
    "indices of a program's own, as train ids": (renumbered, "train-ids", "--labels colours"),
    "colours": (coloured, "ids", "--labels colours"),
    "ids as colours": (lambda t: Image.fromarray(ids_of(t)), "colours", "--labels ids"),
    "ids in three channels": (lambda t: Image.fromarray(np.dstack([ids_of(t)] * 3)), "ids", "channels are equal"),
    "ids in three channels, as colours": (
        lambda t: Image.fromarray(np.dstack([ids_of(t)] * 3)), "colours", "channels are equal",
    ),
    "train ids in three channels": (
        lambda t: Image.fromarray(np.dstack([t] * 3)), "train-ids", "channels are equal",
    ),
    "masks": (lambda t: Image.fromarray((t == 0).astype(np.uint8) * 255), "train-ids", "0 and 255 alone, as masks"),
    "masks as ids": (lambda t: Image.fromarray((t == 0).astype(np.uint8) * 255), "ids", "0 and 255 alone, as masks"),
    "a withheld test split": (lambda t: Image.fromarray(t * 0), "ids", "void in every pixel"),
    "another set's values": (lambda t: Image.fromarray((t + 60).astype(np.uint8)), "ids", "does not list"),
}  # fmt: skip


@pytest.mark.parametrize("form", list(WRONG))
@pytest.mark.parametrize("layout", ["gta5", "folder"])
def test_wrong_labels_are_refused_and_the_right_kind_is_named(form: str, layout: str, tmp_path: Path) -> None:
    """In GTA5 ids that are not listed are void, elsewhere each is an error of its file."""
    encode, kind, said = WRONG[form]
    dataset = make(tmp_path, encode, layout, labels=kind)
    with pytest.raises(DataError, match=rf"^{tmp_path}: the labels .*{said}.*--trust-labels$"):
        check_labels(dataset)
    report = check_dataset(make(tmp_path, encode, layout, labels=kind, strict=False))
    assert [problem for problem in report.problems if problem.path == tmp_path]


def test_with_trust_they_are_taken_and_told(tmp_path: Path) -> None:
    dataset = make(tmp_path, Image.fromarray, labels="ids", trust_labels=True)
    told: list[str] = []
    check_labels(dataset, told.append)
    assert len(told) == 1
    assert "--labels train-ids" in told[0]
    report = check_dataset(dataset)
    assert report.problems == ()
    assert any("--labels train-ids" in note for note in report.notes)


def test_one_wrong_file_of_many_is_found_by_its_palette(tmp_path: Path) -> None:
    make(tmp_path, lambda t: with_palette(ids_of(t), GTA))
    renumbered(SCENES[2][1]).save(tmp_path / "labels" / "00002.png")
    with pytest.raises(DataError, match=r"in 1 of 4 files, e.g. .*00002.png"):
        check_labels(open_dataset("gta5", tmp_path))


def test_what_is_odd_is_told_and_taken(tmp_path: Path) -> None:
    few = make(tmp_path / "few", lambda t: Image.fromarray(np.where(t == 2, 11, 0).astype(np.uint8)), labels="ids")
    told: list[str] = []
    check_labels(few, told.append)
    assert len(told) == 1
    assert "void in" in told[0]
    other = make(tmp_path / "other", lambda t: Image.fromarray(np.where(t == 0, 24, 33).astype(np.uint8)), labels="ids")
    told.clear()
    check_labels(other, told.append)
    assert len(told) == 1
    assert "street scenes" in told[0]
    assert any("street scenes" in note for note in check_dataset(other).notes)


def test_kinds_that_read_alike_are_not_compared(tmp_path: Path) -> None:
    """CamVid's ids are its train ids; only void differs."""
    to_camvid = np.zeros(256, np.uint8)
    to_camvid[[0, 1, 2, 8, 10, 13]] = 3, 4, 1, 5, 0, 8
    for kind in ("ids", "train-ids"):
        dataset = make(tmp_path, lambda t: Image.fromarray(to_camvid[t]), label_set=CAMVID_11, labels=kind)
        told: list[str] = []
        check_labels(dataset, told.append)
        assert told == []


def test_two_classes_of_a_mask_are_taken_where_both_are_listed(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(
        '[[classes]]\nname = "rest"\nid = 0\ntrain_id = 0\ncolour = [0, 0, 0]\ncontrol = [0, 0, 0]\n'
        '[[classes]]\nname = "road"\nid = 255\ntrain_id = 1\ncolour = [128, 64, 128]\n'
    )
    two = str(tmp_path / "two.toml")
    masks: Encode = lambda t: Image.fromarray((t == 0).astype(np.uint8) * 255)  # noqa: E731
    check_labels(make(tmp_path / "set", masks, "folder", label_set=two, labels="ids"))


def test_every_run_asks_before_it_begins(tmp_path: Path) -> None:
    dataset = make(tmp_path / "day", Image.fromarray, labels="ids")
    output = tmp_path / "out"
    with pytest.raises(DataError, match="--labels train-ids"):
        run_transfer(dataset, output, [find_domain("night")])
    with pytest.raises(DataError, match="--labels train-ids"):
        run_adapt(dataset, output, make_settings("default"))
    with pytest.raises(DataError, match="--labels train-ids"):
        evaluate(tmp_path / "checkpoint", [dataset])
    assert not output.exists()
