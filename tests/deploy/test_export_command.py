"""`zodi export-segmenter` as a user has it: the file, its report, a refusal, and a repository for Triton."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from PIL import Image

from zodi.api import SegmenterChoice
from zodi.deploying import calibration_arrays, fit_image, fit_label, scenes
from zodi.engines.bundle import file_sha256
from zodi.engines.segmenters import open_segmenter
from zodi.errors import OutputError, SettingsError
from zodi.export import segmenter as segmenter_export
from zodi.export.triton import configuration, write_repository
from zodi.labels import CITYSCAPES_19


def test_the_file_and_its_report(exported, checkpoint):
    assert sorted(path.name for path in exported.iterdir()) == ["model.onnx", "report.json", "report.md"]
    report = json.loads((exported / "report.json").read_text())
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    about = json.loads(next(p.value for p in model.metadata_props if p.key == "zodi"))
    assert report["metadata"] == about
    assert about["classes"] == list(CITYSCAPES_19.names)
    assert (about["size"], about["resize"], about["output"]) == ([32, 64], "lanczos", "labels")
    assert about["made"]["opset"] == model.opset_import[0].version
    assert len(about["made"]["weights"]) == 64
    figures = report["figures"]
    assert (report["samples"], figures["images"], figures["pixel_agreement"]) == ("6 images of street", 6, 1.0)
    assert figures["miou_file"] == figures["miou_torch"] > 0
    assert report["refusals"] == []
    page = (exported / "report.md").read_text()
    assert "| pixels with PyTorch's class | 100.0000% |" in page
    assert "opset 20" in page
    assert "IR version 9, needs ONNX Runtime 1.17 or later." in page
    assert (model.ir_version, about["made"]["ir_version"], about["made"]["onnxruntime"]) == (9, 9, "1.17")


def test_another_opset_and_what_is_measured_is_the_file(cli, checkpoint, street_set, tmp_path, monkeypatch):
    opened = []
    original = segmenter_export.open_graph
    monkeypatch.setattr(
        segmenter_export, "open_graph", lambda path, file: opened.append(file_sha256(path)) or original(path, file)
    )
    done = cli(
        "export-segmenter", checkpoint, "--opset", "18", "--root", street_set.root, "--samples", 2, "-o", tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert "opset 18, IR version 8: needs ONNX Runtime 1.15 or later" in done.stdout
    model = onnx.load(tmp_path / "model.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["metadata"]["made"]["opset"] == 18
    assert report["sha256"]["model.onnx"] == file_sha256(tmp_path / "model.onnx")
    assert report["sha256"]["model.onnx"] in opened


@pytest.mark.parametrize(("precision", "opset"), [("fp32", 17), ("int8", 24), ("bf16", 21)])
def test_an_opset_that_is_not_written_is_refused_before_work(precision, opset):
    allowed = "22 to 23" if precision == "bf16" else "18 to 23"
    with pytest.raises(SettingsError, match=rf"^opset is {opset}, allowed for {precision} are {allowed}$"):
        SegmenterChoice(precision=precision, opset=opset)


def test_int8_that_loses_too_much_is_refused(cli, checkpoint, street_set, tmp_path):
    """The search runs to its end; what was there before stays; the figures are told."""
    before = tmp_path / "out/model.onnx"
    before.parent.mkdir()
    before.write_bytes(b"an earlier export")
    done = cli(
        "export-segmenter", checkpoint, "--precision", "int8", "--root", street_set.root, "-o", tmp_path / "out",
        "--calibrate", f"folder={street_set.root}", "--calibrate", street_set.root / "images/a",
        "--calibration-images", 4, "--samples", 2, "--max-drop", "-101",
    )  # fmt: skip
    assert done.status == 1
    assert "the int8 onnx file is refused: mIoU falls from" in done.stderr
    assert "allowed are -101 points: see refused.md there" in done.stderr
    assert before.read_bytes() == b"an earlier export"
    assert sorted(path.name for path in before.parent.iterdir()) == ["model.onnx", "refused.json", "refused.md"]
    search = json.loads((before.parent / "refused.json").read_text())["quantisation"]
    assert search["images"] == 4
    assert search["layers"] == 31
    assert [row["kept"] for row in search["tried"]] == [0, 1, 2, 4, 8]
    assert search["kept_in_fp32"] == list(search["error_of_each_layer_alone"])[:8]
    page = (before.parent / "refused.md").read_text()
    assert "**Refused**: mIoU falls" in page
    assert "8 of 31 layers are kept in fp32: " in page


def test_wrong_usage(cli, checkpoint, street_set, tmp_path):
    for arguments, says in (
        (["--precision", "int8"], "int8 needs images to calibrate on: give --calibrate DIR"),
        (["--size", "30x60"], "multiples of 16"),
        (["--root", tmp_path / "nowhere"], "no such directory"),
        (["--batch", "0"], "batch is '0'"),
        (["--format", "trt", "--compute-capability", "1.0"], "compute capability is '1.0'"),
    ):
        done = cli("export-segmenter", checkpoint, *arguments, "-o", tmp_path / "out")
        assert (done.status, says in done.stderr) == (1, True), done.stderr
    assert cli("export-segmenter", checkpoint).status == 2
    assert not (tmp_path / "out/model.onnx").exists()


# --- what is compared and calibrated on


def test_scenes_stand_in_for_a_data_set(file):
    samples = scenes(file, 2)
    assert [image.shape for image in samples.images] == [(32, 64, 3)] * 2
    assert [label.shape for label in samples.labels] == [(32, 64)] * 2
    assert not np.array_equal(*samples.images)
    eleven = replace(file, model=replace(file.model, classes=file.model.classes[:11]))
    assert scenes(eleven, 1).labels is None


def test_calibration_takes_evenly_from_all_places(file, street_set, tmp_path):
    for i in range(9):
        Image.new("RGB", (64, 32), (i, 0, 0)).save(tmp_path / f"{i}.png")
    arrays = list(calibration_arrays([str(tmp_path), f"folder={street_set.root}"], file, 7))
    assert len(arrays) == 7
    assert [int(array[0, 0, 0]) for array in arrays[:4]] == [0, 3, 5, 8]
    assert all(array.shape == (32, 64, 3) for array in arrays)


def test_a_file_that_slides_windows_is_compared_on_the_middle(file):
    windows = replace(file, fit="window")
    image = np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)
    fitted = fit_image(image, windows)
    assert np.array_equal(fitted[:, :60], image[8:40])
    assert np.array_equal(fitted[:, 60:], np.repeat(image[8:40, -1:], 4, axis=1))
    assert (fit_label(image[..., 0], windows)[:, 60:] == 255).all()


# --- Triton


def parsed(text):
    """The configuration as Triton's own description of it reads it: another key or type is an error."""
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_a_model_repository(exported, file, tmp_path):
    model = write_repository(tmp_path / "repository", exported, file)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        f"repository/segmenter/{name}" for name in ("1/model.onnx", "config.pbtxt", "labels.txt")
    ]
    config = parsed((model / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == ("segmenter", "onnxruntime", 8)
    assert [(p.name, p.data_type, list(p.dims)) for p in config.input] == [("image", 2, [32, 64, 3])]  # 2: TYPE_UINT8
    assert [(p.name, p.data_type, list(p.dims)) for p in config.output] == [("labels", 2, [32, 64])]
    assert (model / config.output[0].label_filename).read_text().splitlines() == list(CITYSCAPES_19.names)
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert config.instance_group[0].count == 1
    warm = config.model_warmup[0]
    assert (warm.batch_size, list(warm.inputs["image"].dims), warm.inputs["image"].zero_data) == (1, [32, 64, 3], True)
    assert open_segmenter(model / "1/model.onnx").info.classes == CITYSCAPES_19.names


def test_repositories_of_other_files(file):
    fixed = replace(file, dynamic="none", batch=(2, 2, 2), output="logits", format="openvino")
    config = parsed(configuration(fixed))
    assert (config.max_batch_size, config.backend) == (0, "openvino")
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [2, 32, 64, 3]
    assert (list(config.output[0].dims), config.output[0].data_type) == ([2, 19, 32, 64], 11)  # TYPE_FP32
    assert list(config.model_warmup[0].inputs["image"].dims) == [2, 32, 64, 3]
    any_size = parsed(configuration(replace(file, dynamic="all", format="trt")))
    assert list(any_size.input[0].dims) == [-1, -1, 3]
    assert any_size.backend == "tensorrt"
    assert any_size.instance_group[0].kind == 1  # KIND_GPU


def test_a_repository_that_cannot_be_written(exported, file, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another --triton"):
        write_repository(tmp_path / "file", exported, file)


def test_labels_that_are_all_void_are_no_comparison(cli, checkpoint, street_set, tmp_path):
    data = shutil.copytree(street_set.root, tmp_path / "data")
    for path in (data / "labels").rglob("*.png"):
        Image.fromarray(np.full((48, 96), 4, np.uint8)).save(path)
    done = cli("export-segmenter", checkpoint, "--root", data, "-o", tmp_path / "out")
    assert done.status == 1
    assert "6 images: has no pixel of a trained class, all are void" in done.stderr
    assert not (tmp_path / "out").exists()
