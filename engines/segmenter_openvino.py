"""Exported segmenters on OpenVINO, without PyTorch."""

from pathlib import Path

from zodi.engines.openvino_model import compile_model, read_model
from zodi.engines.segmenter_metadata import check_channels, read_metadata
from zodi.engines.segmenters import RunFile
from zodi.errors import EngineError
from zodi.segmenter.info import METADATA_KEY, FileInfo

# half precision is of the weights and the ports between layers: this runtime computes it in fp32 on the CPU
EXECUTED = {"fp32": "fp32", "fp16": "fp32", "bf16": "bf16", "int8": "int8"}


def open_file(path: Path, *, device: str, threads: int | None) -> tuple[FileInfo, RunFile]:
    """See `zodi.engines.segmenters.open_segmenter`."""
    if device not in ("auto", "cpu"):
        raise EngineError(f"device is {device!r}, OpenVINO files run on the CPU: use --device cpu")
    model = read_model(path)
    text = model.get_rt_info([METADATA_KEY]).astype(str) if model.has_rt_info([METADATA_KEY]) else None
    file = read_metadata(path, text)
    shape = model.outputs[0].get_partial_shape()
    check_channels(path, file, [dim.get_length() if dim.is_static else None for dim in shape])
    request = compile_model(model, path, EXECUTED[file.precision], threads)
    return file, lambda images: request.infer([images], share_inputs=True)[0].copy()
