"""Graphs become files that hold what was asked for, compute what PyTorch computes, and are made once."""

import gc
import shutil
import weakref
from pathlib import Path

import onnx
import pytest
import torch

from zodi.engines.bundle import open_bundle, read_bundle
from zodi.engines.components import load_components
from zodi.engines.graphs import build_graphs
from zodi.engines.profile import Sizes, graph_profile, make_sizes
from zodi.errors import ModelError, OutputError, SettingsError
from zodi.export.bundle import check_engine, copy_bundle, export_bundle, file_parity, trace_sizes
from zodi.export.onnx_file import check_structure, write_graph
from zodi.export.parity import check_sizes, load_references, make_references, measure_parity, sample_inputs
from zodi.export.precision import precision_floor, spread_error
from zodi.ports import graphs

BUNDLE_SIZES = {"size": (32, 64), "batch": (1, 2, 4), "static": False}  # of the fixture


@pytest.fixture
def components(tiny_model):
    return load_components(str(tiny_model))


@pytest.fixture
def copy(tiny_bundle, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def again(components, directory, **changes):
    """Export again; what was said of each graph."""
    said: dict[str, str] = {}
    options = BUNDLE_SIZES | changes
    sizes = make_sizes(options["size"], options["batch"], static=options["static"], dims=components.info.dims)
    precision = changes.get("precision", "fp32")
    bundle = export_bundle(components, directory, precision=precision, sizes=sizes, report=said.__setitem__)
    return bundle, said


def test_parity_at_two_shapes_and_two_batches_is_in_the_bundle(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    for name, graph in bundle.graphs.items():
        rows = graph["parity"]
        assert len({row["shape"][0] for row in rows}) == 2
        assert len({tuple(row["shape"][1:]) for row in rows}) == (1 if name == "text_encoder" else 2)
        assert all(0 < row["floor"] < 5e-6 and 0 < row["error"] <= row["allowed"] for row in rows)
        model = onnx.load(tiny_bundle / f"{name}.onnx", load_external_data=False)
        assert (model.opset_import[0].version, model.ir_version) == (20, 9), "the lowest that the opset allows"
    assert bundle.engines["ort"]["precision"] == "fp32"
    assert set(bundle.engines["ort"]["parity"]) == set(bundle.graphs)


def test_what_is_current_is_left_alone(components, copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    _, said = again(components, copy)
    assert said == dict.fromkeys(graphs(components.info.dims), "is current")
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_only_what_is_broken_is_made_again_and_the_weights_are_freed(components, copy):
    (copy / "control_hint.onnx.data").unlink()
    parameters = [weakref.ref(p) for part in ("unet", "vae") for p in getattr(components, part).parameters()]
    _, said = again(components, copy)
    assert said.pop("control_hint").startswith("written (control_hint.onnx.data is missing)")
    assert set(said.values()) == {"is current"}
    assert open_bundle(copy).graphs.keys() == graphs(components.info.dims).keys()
    gc.collect()
    assert components.unet is None
    assert len(parameters) > 100 and not any(reference() is not None for reference in parameters)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"batch": (1, 2, 8)}, "profile differs"), ({"precision": "fp16"}, "precision differs")],
)
def test_other_settings_make_it_stale(components, copy, change, reason):
    """Which graphs would be written, and why, without writing them."""
    from zodi.engines.bundle import Bundle, graph_identity
    from zodi.export import bundle as module

    options = BUNDLE_SIZES | change
    precision = change.get("precision", "fp32")
    sizes = make_sizes(options["size"], options["batch"], static=False, dims=components.info.dims)
    bundle = Bundle(copy, components.info, precision, sizes)
    identities = {
        name: graph_identity(bundle, graph, precision=precision, exporter=module._exporter(), opset=20)
        for name, graph in graphs(components.info.dims).items()
    }
    reasons = module._keep_current(bundle, identities)
    assert reasons["denoiser"] == reason
    assert (reasons["text_encoder"] is None) == ("batch" in change)


def test_a_copy_shares_no_file_that_a_new_export_would_change(components, tiny_bundle, tmp_path):
    source = open_bundle(tiny_bundle)
    copied = copy_bundle(source, tmp_path / "copy")
    assert open_bundle(copied.directory).graphs == source.graphs
    (copied.directory / "control_hint.onnx").unlink()
    again(components, copied.directory)
    open_bundle(tiny_bundle)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("graph", ["text_encoder", "control_hint"])
def test_half_precision(components, tmp_path, graph, precision):
    """Half is in the weights, float32 at the ports; the error is that of the precision, not more, not less."""
    port_table, module = graphs(components.info.dims)[graph], build_graphs(components)[graph]
    sizes = make_sizes((32, 64), (1, 2, 4), static=True, dims=components.info.dims)
    profile = graph_profile(port_table, sizes, components.info.dims)
    references = make_references(module, port_table, components.info, profile, vocabulary=50, precision=precision)
    inputs = sample_inputs(port_table, components.info, trace_sizes(port_table, profile, 2), vocabulary=50, seed=0)
    path = tmp_path / f"{graph}.onnx"
    write_graph(module, port_table, list(inputs.values()), path, profile=profile, precision=precision)
    check_structure(path, port_table, profile, precision)
    with pytest.raises(ModelError, match="weights are not fp32"):
        check_structure(path, port_table, profile, "fp32")
    rows = file_parity(path, port_table, references, precision)
    assert all(row["floor"] > 1e-4 and row["error"] > 0.1 * row["floor"] for row in rows)


def test_floors(components):
    module = build_graphs(components)["denoiser"]
    table = graphs(components.info.dims)["denoiser"]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    inputs = list(
        sample_inputs(table, components.info, {"batch": 2, "height": 4, "width": 6}, vocabulary=50, seed=0).values()
    )
    with torch.inference_mode():
        outputs = module(*inputs)
        floors = {name: precision_floor(module, inputs, outputs, name) for name in ("fp32", "fp16", "bf16")}
        assert torch.equal(module(*inputs)[0], outputs[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert 1e-8 < floors["fp32"] < 2e-6 < 2e-4 < floors["fp16"] < 4e-3 < floors["bf16"] < 3e-2


def test_a_wrong_result_is_no_parity(tiny_bundle, components):
    bundle = read_bundle(tiny_bundle)
    references = load_references(tiny_bundle / "control_hint.parity.npz")
    module = build_graphs(components)["control_hint"]
    right = measure_parity("it", lambda inputs: {"hint": module(inputs["layout"])[0]}, references, "fp32")
    assert len(right) == len(bundle.graphs["control_hint"]["parity"])
    for wrong in (lambda hint: hint + 1e-3, lambda hint: hint * float("nan")):
        with pytest.raises(ModelError, match="computes something else than PyTorch"):
            measure_parity("it", lambda inputs, w=wrong: {"hint": w(module(inputs["layout"])[0])}, references, "fp32")


def test_engines_are_checked_on_the_references(tiny_bundle):
    state = check_engine(open_bundle(tiny_bundle), "openvino", precision="fp32", threads=1)
    assert (state["precision"], state["device"], state["gpu"]) == ("fp32", "cpu", None)
    assert len(state["parity"]["denoiser"]) == 4


def test_spread_error():
    exact = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert spread_error(exact, exact) == 0
    assert spread_error(exact + 0.1 * exact.std(), exact) == pytest.approx(0.1, rel=1e-5)


def test_where_sizes_are_checked_and_traced(components):
    dims = components.info.dims
    table = graphs(dims)
    dynamic = make_sizes((32, 64), (1, 2, 4), static=False, dims=dims)
    fixed = make_sizes((32, 64), (1, 1, 1), static=True, dims=dims)
    assert graph_profile(table["denoiser"], dynamic, dims) == {
        "batch": (1, 4, 8),
        "height": (2, 4, 16),
        "width": (2, 8, 16),
    }
    assert trace_sizes(table["denoiser"], graph_profile(table["denoiser"], dynamic, dims), 2) == {
        "batch": 2,
        "height": 4,
        "width": 6,
    }
    assert trace_sizes(table["vae_encoder"], graph_profile(table["vae_encoder"], fixed, dims), 2) == {
        "batch": 1,
        "height": 4,
        "width": 8,
    }
    assert len(check_sizes(table["denoiser"], graph_profile(table["denoiser"], dynamic, dims), 2)) == 4
    assert len(check_sizes(table["denoiser"], graph_profile(table["denoiser"], fixed, dims), 2)) == 2
    assert Sizes.from_json(dynamic.to_json()) == dynamic
    with pytest.raises(SettingsError, match=r"must be a multiple of 16, e\.g\. 32"):
        make_sizes((40, 64), (1, 1, 1), static=True, dims=dims)


def test_a_directory_that_cannot_be_written(components):
    with pytest.raises(OutputError, match=r"cannot be written|GiB free"):
        again(components, Path("/proc/zodi"))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "static"), [("fp16", True), ("bf16", True), ("fp32", True)])
def test_a_whole_bundle_in_each_precision(components, tmp_path, precision, static):
    bundle, said = again(components, tmp_path / "bundle", precision=precision, static=static)
    assert len(said) == 5 and all(words.startswith("written (new)") for words in said.values())
    assert open_bundle(tmp_path / "bundle", precision=precision).sizes.static
    decoder = bundle.graphs["vae_decoder"]["identity"]["precision"]
    assert decoder == ("fp32" if precision == "fp16" else precision)
