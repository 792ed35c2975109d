"""A bundle is opened only if all of it is what was written, for the model that was asked for."""

import json
import shutil
from pathlib import Path

import pytest

from zodi.engines.bundle import BUNDLE_FILE, METADATA_KEY, file_sha256, open_bundle, read_bundle
from zodi.errors import ModelError
from zodi.ports import graphs

GRAPHS = ("text_encoder", "vae_encoder", "control_hint", "denoiser", "vae_decoder")
FILES = [f"{graph}.{kind}" for graph in GRAPHS for kind in ("onnx", "onnx.data", "parity.npz")]
OTHERS = ["scheduler/scheduler_config.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]


@pytest.fixture
def copy(tiny_bundle, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_bundle_opens(tiny_bundle, tiny_model):
    from zodi.engines.components import load_components

    info = load_components(str(tiny_model)).info
    bundle = open_bundle(tiny_bundle, weights=info.hash, precision="fp32")
    assert bundle.info == info
    assert list(bundle.graphs) and set(bundle.graphs) == set(GRAPHS)
    assert set(bundle.files) == {*FILES, *OTHERS}
    assert bundle.profile("denoiser")["batch"] == (1, 4, 8)
    assert "--dynamic" in bundle.rebuild and "--batch 1:2:4" in bundle.rebuild


@pytest.mark.parametrize("name", [*FILES, *OTHERS])
def test_a_corrupted_byte_in_any_file_is_refused_by_its_name(copy, name):
    flip(copy / name)
    with pytest.raises(ModelError, match=f"{name} is not the file that was written.*zodi export-engines"):
        open_bundle(copy)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_corrupted_byte_in_the_identity_is_refused(copy, share):
    path = copy / BUNDLE_FILE
    content = bytearray(path.read_bytes())
    position = next(i for i in range(int(share * len(content)), len(content)) if chr(content[i]).isdigit())
    content[position] = ord("1") if content[position] != ord("1") else ord("2")
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{BUNDLE_FILE}.*zodi export-engines"):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["denoiser.onnx.data", "vae_decoder.onnx", "tokenizer/tokenizer.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing.*zodi export-engines"):
        open_bundle(copy)


def test_other_weights_and_precisions_are_refused(copy):
    with pytest.raises(ModelError, match=r"weights of the bundle .* asked for .* zodi export-engines"):
        open_bundle(copy, weights="0" * 64)
    with pytest.raises(ModelError, match=r"precision of the bundle .* fp32, asked for .* fp16"):
        open_bundle(copy, precision="fp16")


@pytest.mark.parametrize("field", ["weights", "profile", "precision", "ports", "graph"])
def test_a_graph_of_another_bundle_is_refused_by_the_field(copy, field):
    """The manifest fits the file, but what is written inside it does not."""
    import onnx

    path = copy / "vae_encoder.onnx"
    model = onnx.load(path, load_external_data=False)
    identity = json.loads(model.metadata_props[0].value)
    identity[field] = "another"
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(identity)})
    onnx.save(model, path)
    bundle = read_bundle(copy)
    bundle.files["vae_encoder.onnx"] = file_sha256(path)
    bundle.write()
    with pytest.raises(ModelError, match=f"vae_encoder.onnx: {field} is .*'another' in the file.*zodi export-engines"):
        open_bundle(copy)


def test_an_unfinished_bundle_is_refused(copy):
    bundle = read_bundle(copy)
    del bundle.graphs["vae_decoder"]
    bundle.write()
    with pytest.raises(ModelError, match=r"vae_decoder is not in the bundle.*broken off"):
        open_bundle(copy)


def test_nothing_there(tmp_path):
    with pytest.raises(ModelError, match=r"there is no bundle.*make the bundle with zodi export-engines"):
        open_bundle(tmp_path / "none")
    (tmp_path / BUNDLE_FILE).write_text('{"format": 99}')
    with pytest.raises(ModelError, match="format is 99, this zodi reads"):
        open_bundle(tmp_path)
    (tmp_path / BUNDLE_FILE).write_text("not JSON")
    with pytest.raises(ModelError, match="is damaged"):
        open_bundle(tmp_path)


def test_files_hold_no_paths_of_the_machine_that_made_them(tiny_bundle):
    """The exporter writes stack traces into every node unless told otherwise."""
    checked = [tiny_bundle / f"{graph}.onnx" for graph in GRAPHS]
    assert len(checked) == 5
    for path in checked:
        assert b"site-packages" not in path.read_bytes()


def test_ports_of_the_files_are_those_of_the_table(tiny_bundle):
    import onnx

    bundle = read_bundle(tiny_bundle)
    for name, graph in graphs(bundle.info.dims).items():
        model = onnx.load(bundle.path(name), load_external_data=False)
        assert [value.name for value in model.graph.input] == [port.name for port in graph.inputs]
        for port, value in zip((*graph.inputs, *graph.outputs), (*model.graph.input, *model.graph.output), strict=True):
            dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert [str(dim) for dim in dims] == [str(dim) for dim in port.dims]
