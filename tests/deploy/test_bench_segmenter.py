"""`zodi bench segmenter` on a tiny net: every format and precision has a row that says what became of it."""

import json

import pytest
from PIL import Image

from zodi.api import SegmenterBenchChoice, bench_segmenter
from zodi.errors import SettingsError

KEYS = [
    "format", "precision", "batch", "ms_p50", "ms_p95", "images_per_s", "size_mib", "miou", "pixel_agreement", "status",
]  # fmt: skip


@pytest.mark.slow
def test_all_formats_beside_pytorch(cli, checkpoint, street_set, tmp_path):
    done = cli(
        "bench", "segmenter", checkpoint, "--root", street_set.root, "--rounds", 4, "--threads", 1, "--samples", 3,
        "--batch", 1, "--batch", 2, "--max-drop", 100, "--json", tmp_path / "b.json", "--chart", tmp_path / "b.png",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    content = json.loads((tmp_path / "b.json").read_text())
    assert list(content) == ["machine", "settings", "rows"]
    rows = {(row["format"], row["precision"], row["batch"]): row for row in content["rows"]}
    assert len(rows) == len(content["rows"]) == (2 + 3 * 4) * 2
    assert all(list(row) == KEYS for row in rows.values())
    for key in (("torch", "fp32"), ("torch-compile", "fp32"), ("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32")):
        for batch in (1, 2):
            row = rows[*key, batch]
            assert row["status"].startswith("ok"), row
            assert 0 < row["ms_p50"] <= row["ms_p95"]
            assert row["images_per_s"] == pytest.approx(1000 * batch / row["ms_p50"])
            assert row["size_mib"] > 0
            assert row["pixel_agreement"] >= (0.9999 if key[1] == "fp32" else 0.5)
            assert 0 < row["miou"] < 1
    assert "was faster" in rows["torch", "fp32", 1]["status"]
    assert "in fp32" in rows["onnx", "fp16", 1]["status"]
    assert rows["onnx", "bf16", 1]["status"].startswith("not runnable here: onnxruntime")
    assert rows["onnx", "bf16", 1]["ms_p50"] is None
    assert rows["onnx", "int8", 1]["size_mib"] < 0.7 * rows["onnx", "fp32", 1]["size_mib"]
    assert Image.open(tmp_path / "b.png").width > 400
    assert "torch-compile" in done.stdout


def test_wrong_requests():
    with pytest.raises(SettingsError, match="rounds must be 2 or more"):
        bench_segmenter(choice=SegmenterBenchChoice(rounds=1))
