"""Exported segmenters on ONNX Runtime, without PyTorch."""

from pathlib import Path

from zodi.engines.ort_session import PROVIDERS, import_onnxruntime, open_session
from zodi.engines.segmenter_metadata import check_channels, read_metadata
from zodi.engines.segmenters import RunFile
from zodi.errors import EngineError
from zodi.segmenter.info import METADATA_KEY, PORT, FileInfo


def open_file(path: Path, *, device: str, threads: int | None) -> tuple[FileInfo, RunFile]:
    """See `zodi.engines.segmenters.open_segmenter`."""
    if device == "auto":
        device = "cuda" if PROVIDERS["cuda"] in import_onnxruntime().get_available_providers() else "cpu"
    if device not in PROVIDERS:
        raise EngineError(f"device is {device!r}, allowed for {path.suffix} files are auto, {', '.join(PROVIDERS)}")
    session = open_session(path, device, threads=threads)
    file = read_metadata(path, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY))
    check_channels(path, file, session.get_outputs()[0].shape)
    return file, lambda images: session.run(None, {PORT: images})[0]
