"""Bundles of links into a store, as hub caches, DVC and git-annex keep them, are what they lead to on every engine."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from zodi.engines import open_engine
from zodi.engines.bundle import file_sha256, open_bundle
from zodi.errors import ModelError
from zodi.export.bundle import check_engine, copy_bundle, export_bundle
from zodi.export.parity import load_references


def link_files(source: Path, root: Path, *, relative: bool, only: str = "") -> Path:
    """A directory of links to files that a store holds by their content; of other names than `only`, copies."""
    store, links = root / "store", root / "links"
    store.mkdir(parents=True)
    for path in (p for p in source.rglob("*") if p.is_file()):
        link = links / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not path.name.endswith(only):
            shutil.copyfile(path, link)
            continue
        kept = store / file_sha256(path)
        shutil.copyfile(path, kept)
        kept.chmod(0o444)
        link.symlink_to(os.path.relpath(kept, link.parent) if relative else kept)
    return links


KEPT = ("cache", "annex", "data alone", "whole folder", "inner folder")


def keep(kind: str, source: Path, root: Path) -> Path:
    """A bundle as people keep it."""
    if kind == "whole folder":
        shutil.copytree(source, root / "store")
        (root / "links").symlink_to("store")
    elif kind == "inner folder":
        shutil.copytree(source, root / "links")
        (root / "links/tokenizer").rename(root / "tokenizer")
        (root / "links/tokenizer").symlink_to("../tokenizer")
    else:
        link_files(source, root, relative=kind == "cache", only=".data" if kind == "data alone" else "")
    return root / "links"


def results(directory: Path, engine: str) -> dict[str, torch.Tensor]:
    bundle = open_bundle(directory)
    with open_engine(bundle, engine, device="cpu", threads=1) as opened:
        return {
            f"{graph}.{name}": tensor
            for graph in bundle.graphs
            for name, tensor in opened.run(
                graph, load_references(directory / f"{graph}.parity.npz")[0].inputs
            ).items()
        }  # fmt: skip


@pytest.fixture(scope="module")
def plain(tiny_bundle) -> dict[str, dict[str, torch.Tensor]]:
    return {engine: results(tiny_bundle, engine) for engine in ("ort", "openvino")}


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("engine", ["ort", "openvino"])
def test_links_run_as_the_files_do(plain, tiny_bundle, tmp_path, engine, kind):
    expected, found = plain[engine], results(keep(kind, tiny_bundle, tmp_path), engine)
    assert expected.keys() == found.keys() and len(found) == 6
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("kind", KEPT)
def test_plain_sessions_read_links_too(tiny_bundle, tmp_path, kind):
    from zodi.engines.ort_session import open_session

    links = keep(kind, tiny_bundle, tmp_path)
    assert open_session(links / "control_hint.onnx").get_inputs()[0].name == "layout"


@pytest.mark.parametrize("kind", ["cache", "whole folder"])
def test_verify_and_a_copy_of_links(cli, tiny_bundle, tmp_path, kind):
    links = keep(kind, tiny_bundle, tmp_path / "kept")
    done = cli("engines", "verify", links)
    assert done.status == 0 and "no problems" in done.stdout, done.stderr
    done = cli("export-engines", "--from-onnx", links, "--bundle", tmp_path / "copy", "--engine", "ort")
    assert done.status == 0, done.stderr
    copied = [path for path in (tmp_path / "copy").rglob("*") if not path.is_dir()]
    assert len(copied) > 15 and not any(path.is_symlink() for path in copied)
    assert all(path.stat().st_nlink == 1 for path in copied)
    shutil.rmtree(tmp_path / "kept")
    open_bundle(tmp_path / "copy")
    check_engine(open_bundle(tmp_path / "copy"), "ort", precision="fp32", threads=1)


def test_a_copy_of_files_still_shares_their_data(tiny_bundle, tmp_path):
    copied = copy_bundle(open_bundle(tiny_bundle), tmp_path / "copy")
    data = "denoiser.onnx.data"
    assert (copied.directory / data).samefile(tiny_bundle / data)


def test_an_export_onto_links_leaves_the_store_alone(tiny_model, tiny_bundle, tmp_path):
    from zodi.engines.components import load_components
    from zodi.engines.profile import make_sizes

    links = link_files(tiny_bundle, tmp_path, relative=True)
    store = {path: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    components = load_components(str(tiny_model))
    components.tokenizer.model_max_length = 50  # another file of the tokenizer
    (links / "control_hint.onnx").unlink()
    sizes = make_sizes((32, 64), (1, 2, 4), static=False, dims=components.info.dims)
    export_bundle(components, links, precision="fp32", sizes=sizes)
    assert store and {path: path.read_bytes() for path in (tmp_path / "store").iterdir()} == store
    assert not (links / "tokenizer/tokenizer_config.json").is_symlink()
    open_bundle(links)


def test_a_copy_onto_links_leaves_the_store_alone(tiny_bundle, tmp_path):
    links = keep("inner folder", tiny_bundle, tmp_path)
    before = {path.name: path.stat().st_ino for path in (tmp_path / "tokenizer").iterdir()}
    open_bundle(copy_bundle(open_bundle(tiny_bundle), links).directory)
    assert before and {path.name: path.stat().st_ino for path in (tmp_path / "tokenizer").iterdir()} == before


def test_a_link_to_what_is_not_here(tiny_bundle, tmp_path):
    links = link_files(tiny_bundle, tmp_path, relative=True)
    (links / "denoiser.onnx.data").resolve().unlink()
    with pytest.raises(ModelError, match=r"denoiser\.onnx\.data is a link to \.\./store/\w+, which is not here"):
        open_bundle(links)


def test_a_model_of_links(tiny_model, tmp_path):
    from zodi.engines.components import load_components

    links = link_files(tiny_model, tmp_path, relative=True)
    assert load_components(str(links)).info.hash == load_components(str(tiny_model)).info.hash
