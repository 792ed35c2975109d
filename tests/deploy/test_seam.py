"""`open_segmenter`: the same ids from every format, without PyTorch where none is needed, and clear errors."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from zodi.engines.openvino_model import cpu_precisions
from zodi.engines.segmenters import OPENERS, DeployedSegmenter, open_segmenter
from zodi.errors import DataError, EngineError, ModelError, SettingsError
from zodi.export.segmenter_files import write_file
from zodi.export.segmenter_onnx import add_head, attach_metadata
from zodi.segmenter.deployed import predict_sizes, predict_windows


@pytest.fixture(scope="module")
def images(reference):
    return np.stack(reference.samples.images)


def test_every_format_gives_the_same_ids(checkpoint, exported, openvino_file, images, reference):
    for path in (checkpoint, exported / "model.onnx", openvino_file):
        opened = open_segmenter(path)
        ids = opened.predict(images)
        assert (ids.dtype, ids.shape) == (np.uint8, (6, 32, 64))
        assert np.array_equal(ids, reference.ids), path
        assert opened.info.classes[0] == "road"
        assert opened.info.size == (32, 64)
    assert len(np.unique(reference.ids)) > 2, "else equal ids say little"


NO_TORCH = """
import sys
import numpy as np
class Refuse:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("torch", "torchvision", "transformers", "diffusers"):
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Refuse())
from zodi.engines.segmenters import open_segmenter
ids = open_segmenter(sys.argv[1]).predict(np.zeros((1, 32, 64, 3), np.uint8))
assert ids.shape == (1, 32, 64), ids.shape
sys.argv = ["zodi", "predict", sys.argv[1], sys.argv[2], "-o", sys.argv[3]]
from zodi.cli.__main__ import main
main()
"""


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_files_need_no_pytorch(kind, exported, openvino_file, street_set, tmp_path):
    """The seam and the command, in a process where importing it is an error."""
    path = exported / "model.onnx" if kind == "onnx" else openvino_file
    arguments = [path, street_set.samples[0].image, tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/labels/0.png").is_file()
    assert "1 images predicted, 0 left out" in done.stdout


def test_the_registry_is_what_there_is():
    assert set(OPENERS) == {"", ".onnx", ".xml", ".engine", ".plan"}


def test_a_fixed_batch_is_filled_up_and_a_large_one_is_cut(file, images):
    sizes = []

    def run(chunk):
        sizes.append(len(chunk))
        return chunk[..., 0] % 19

    opened = DeployedSegmenter("x", replace(file, batch=(4, 4, 4)), run)
    assert np.array_equal(opened.predict(images), images[..., 0] % 19)
    assert sizes == [4, 4]


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.zeros((1, 32, 64, 4), np.uint8), r"uint8 of shape \(1, 32, 64, 4\)"),
        (np.zeros((32, 64, 3), np.uint8), r"takes uint8 of shape \(B, H, W, 3\)"),
        (np.zeros((1, 32, 64, 3), np.float32), "images are float32"),
        (np.zeros((0, 32, 64, 3), np.uint8), r"shape \(0, 32, 64, 3\)"),
    ],
)
def test_what_is_not_images(exported, images, says):
    with pytest.raises(DataError, match=says):
        open_segmenter(exported / "model.onnx").predict(images)


def test_another_size_and_missing_probabilities(exported, images):
    opened = open_segmenter(exported / "model.onnx")
    with pytest.raises(SettingsError, match="takes images of 32x64, given is 16x64: resize them, or export it with"):
        opened.predict(images[:, :16])
    with pytest.raises(SettingsError, match="export it with --output probabilities"):
        opened.probabilities(images)


# --- files that are not what they should be


def rewritten(exported, path, change=None, drop=False):
    """A copy of the file whose metadata is changed or gone."""
    model = onnx.load(exported / "model.onnx")
    about = json.loads(next(p.value for p in model.metadata_props if p.key == "zodi"))
    del model.metadata_props[:]
    if not drop:
        onnx.helper.set_model_props(model, {"zodi": json.dumps(about | change)})
    onnx.save(model, path)
    return path


def test_metadata_that_is_missing_or_wrong(exported, tmp_path, images):
    with pytest.raises(ModelError, match=r"has no metadata 'zodi': it was not made by zodi, or a tool dropped it"):
        open_segmenter(rewritten(exported, tmp_path / "a.onnx", drop=True))
    with pytest.raises(ModelError, match=r"19 classes and 3 colours"):
        open_segmenter(rewritten(exported, tmp_path / "b.onnx", {"palette": [[0, 0, 0]] * 3}))
    with pytest.raises(ModelError, match="output is 'pictures', allowed are labels"):
        open_segmenter(rewritten(exported, tmp_path / "c.onnx", {"output": "pictures"}))
    with pytest.raises(ModelError, match="its output has 3 axes, logits have 4"):
        open_segmenter(rewritten(exported, tmp_path / "d.onnx", {"output": "logits"}))
    few = {"classes": ["road", "sky"], "palette": [[0, 0, 0], [1, 1, 1]]}
    with pytest.raises(ModelError, match=r"returns the id \d+, its metadata lists 2 classes"):
        open_segmenter(rewritten(exported, tmp_path / "e.onnx", few)).predict(images)


def test_channels_that_do_not_match(traced, file, tmp_path):
    two = replace(file.model, classes=file.model.classes[:2], palette=file.model.palette[:2])
    (tmp_path / "x.onnx").write_bytes(traced.read_bytes())
    attach_metadata(tmp_path / "x.onnx", replace(file, model=two, output="logits"))
    with pytest.raises(ModelError, match="its output has 19 channels, its metadata lists 2 classes"):
        open_segmenter(tmp_path / "x.onnx")


def test_files_that_are_no_models(tmp_path, exported, openvino_file):
    for name in ("x.onnx", "x.xml", "x.plan", "x.jpg", "checkpoint"):
        (tmp_path / name).write_bytes(b"not a model")
    for name, says in (
        ("x.onnx", "onnxruntime cannot load it"),
        ("x.xml", "openvino cannot load it"),
        ("x.plan", r"x\.plan\.json: no such file"),
        ("x.jpg", "unknown kind of file"),
        ("checkpoint", "unknown kind of file"),
        ("nowhere.onnx", "no such file"),
        (exported, rf"holds an exported file, no checkpoint: give {exported}/model\.onnx"),
    ):
        with pytest.raises(ModelError, match=says):
            open_segmenter(tmp_path / name)
    truncated = tmp_path / "short.onnx"
    truncated.write_bytes((exported / "model.onnx").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"short\.onnx: onnxruntime cannot load it"):
        open_segmenter(truncated)


def test_devices_that_a_format_does_not_have(exported, openvino_file):
    with pytest.raises(EngineError, match="OpenVINO files run on the CPU"):
        open_segmenter(openvino_file, device="cuda")
    with pytest.raises(EngineError, match="device is 'abacus'"):
        open_segmenter(exported / "model.onnx", device="abacus")


@pytest.mark.skipif("bf16" in cpu_precisions(), reason="OpenVINO executes bf16 on this CPU")
def test_bf16_where_the_cpu_has_none(traced, file, tmp_path):
    add_head(traced, tmp_path / "finished.onnx", file, "labels")
    path = write_file(tmp_path / "finished.onnx", tmp_path, replace(file, format="openvino", precision="bf16"))
    with pytest.raises(EngineError, match="OpenVINO does not execute bf16 on this CPU: use --precision fp32"):
        open_segmenter(path)


# --- any size


def by_colour(file, **changes):
    """A deployed segmenter whose class is a pixel's red value: what was done with places can be told."""
    return DeployedSegmenter("x", replace(file, **changes), lambda images: images[..., 0])


@pytest.mark.parametrize("size", [(32, 64), (33, 65), (80, 200), (20, 30), (40, 40)])
def test_windows_put_every_pixel_where_it_was(file, size):
    image = np.random.default_rng(0).integers(0, 19, (*size, 3), np.uint8)
    assert np.array_equal(predict_windows(by_colour(file, fit="window"), image), image[..., 0])


def test_windows_are_cut_in_the_middle_of_their_overlap(file):
    """Each window is told from the others by its count; at its border a window counts for nothing."""
    counter = iter(range(19))
    opened = DeployedSegmenter(
        "x", replace(file, fit="window", batch=(1, 1, 1)), lambda images: np.full(images.shape[:3], next(counter))
    )
    ids = predict_windows(opened, np.zeros((32, 106, 3), np.uint8))  # two windows of 64, which share 22 columns
    assert [int(np.argmax(ids[0] == value)) for value in (0, 1)] == [0, 53]


def test_images_of_several_sizes_are_resized_there_and_back(file):
    coarse = np.random.default_rng(0).integers(0, 19, (8, 16), np.uint8)
    images = [np.repeat(np.kron(coarse, np.ones(f, np.uint8))[..., None], 3, axis=2) for f in ((4, 4), (8, 8))]
    small, large = predict_sizes(by_colour(file), images)
    assert np.array_equal(small, images[0][..., 0])
    assert large.shape == (64, 128)
    inner = [slice(3, None, 8), slice(3, None, 8)]  # away from edges, where Lanczos rings
    assert np.abs(large[*inner].astype(int) - images[1][..., 0][*inner]).max() <= 4
