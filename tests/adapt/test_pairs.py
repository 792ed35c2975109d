"""Pairs are found by key, and what is missing has a name."""

import shutil

import pytest
from conftest import make_street
from synthetic import make_synthetic

from zodi.adapt.pairs import find_pairs, in_holdout
from zodi.data import open_dataset
from zodi.errors import DataError


def pairs(source, *directories):
    return find_pairs(open_dataset(None, source), directories)


def test_every_source_image_with_its_own(source, synthetic):
    found = pairs(source, synthetic)
    assert len(found) == 7
    for pair in found:
        (partner,) = pair.partners
        assert partner.domain == "night"
        assert partner.image == synthetic / "night" / f"{pair.sample.key}.png"


def test_several_domains_together_or_by_folder(source, tmp_path):
    both = make_synthetic(source, tmp_path / "both", ("night", "snow"))
    assert [p.domain for p in pairs(source, both)[0].partners] == ["night", "snow"]
    assert [p.domain for p in pairs(source, both / "snow")[0].partners] == ["snow"]
    assert [p.domain for p in pairs(source, both / "snow", both / "night")[0].partners] == ["snow", "night"]
    with pytest.raises(DataError, match="'night' is given twice"):
        pairs(source, both, both / "night")
    (both / "fog").mkdir()
    with pytest.raises(DataError, match=r"fog: is no domain of the transfer in .*: it has night, snow"):
        pairs(source, both / "fog")


def test_a_missing_partner_is_named(source, synthetic):
    (synthetic / "night/a/3.png").unlink()
    with pytest.raises(DataError, match=r"night/a/3\.png: is missing, the night partner of source image 'a/3'"):
        pairs(source, synthetic)


def test_what_transfer_gave_up_is_left_out(source, tmp_path):
    rejected = {"a/2": "failed", "a/5": "quarantined"}
    output = make_synthetic(source, tmp_path / "out", ("night",), rejected)
    assert [pair.sample.key for pair in pairs(source, output)] == ["a/0", "a/1", "a/3", "a/4", "a/6"]


def test_all_given_up(source, tmp_path):
    output = make_synthetic(source, tmp_path / "out", ("night",), {f"a/{i}": "failed" for i in range(7)})
    with pytest.raises(DataError, match="all images of it were rejected"):
        pairs(source, output)


def test_a_plain_folder_of_images(source, synthetic, tmp_path):
    plain = shutil.copytree(synthetic / "night", tmp_path / "dusk")
    assert {pair.partners[0].domain for pair in pairs(source, plain)} == {"dusk"}
    with pytest.raises(DataError, match="holds no PNG images: give the output folder of zodi transfer"):
        pairs(source, source / "missing")


def test_a_source_image_without_label_is_named(source, synthetic):
    (source / "labels/a/4.png").unlink()
    dataset = open_dataset(None, source, need_labels=False)
    with pytest.raises(DataError, match=r"a/4\.png: has no label"):
        find_pairs(dataset, [synthetic])


def test_more_synthetic_images_than_sources_do_no_harm(tmp_path):
    many = make_street(tmp_path / "many", count=5)
    output = make_synthetic(many, tmp_path / "out", ("night",))
    few = make_street(tmp_path / "few", count=3)
    assert len(pairs(few, output)) == 3


def test_holdout_depends_on_the_key_alone():
    keys = [f"city/{i:05d}" for i in range(4000)]
    kept = [key for key in keys if in_holdout(key, 0.1)]
    assert 330 < len(kept) < 470
    assert set(kept) < {key for key in keys if in_holdout(key, 0.2)}
