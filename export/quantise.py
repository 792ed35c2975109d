"""int8 by quantise and dequantise nodes: symmetric, zero point 0, weights per channel; what TensorRT's parser takes.

Scales come from calibration images, with onnxruntime's own tools; they are measured once and serve every choice of
layers.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zodi.errors import EngineError, SettingsError
from zodi.segmenter.info import PORT

Images = NDArray[np.uint8]  # (B, H, W, 3)

METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}  # onnxruntime's names
QUANTISED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
RANKING_IMAGES = 2

OPTIONS: dict[str, Any] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT takes no int32 weights
    "CalibStridedMinMax": 1,  # one image at a time in memory, whatever the method
}


@dataclass(frozen=True)
class Calibration:
    """A graph with fp32 logits, and the ranges of its tensors over the calibration images."""

    graph: Path
    ranges: Path
    method: str

    @property
    def layers(self) -> list[str]:
        """The nodes that can be quantised, in the order of the graph."""
        import onnx

        model = onnx.load(self.graph, load_external_data=False)
        return [node.name for node in model.graph.node if node.op_type in QUANTISED]


def calibrate(graph: Path, batches: Iterable[Images], method: str) -> Calibration:
    """Measure the ranges of all tensors over batches of images, of the shape that the graph takes.

    method  "minmax": all that occurs; "entropy": least information lost (KL divergence); "percentile": without outliers

    Files go beside the graph. Raises SettingsError for an unknown method or no images, EngineError without onnxruntime.
    """
    if method not in METHODS:
        raise SettingsError(f"calibration is {method!r}, allowed are {', '.join(METHODS)}")
    inputs = [{PORT: batch} for batch in batches]
    if not inputs:
        raise SettingsError("int8 needs images to calibrate on: give --calibrate DIR, source and synthetic ones")
    tools = _import()
    prepared = graph.with_name("calibrated.onnx")
    tools.quant_pre_process(graph, prepared, skip_symbolic_shape=True, skip_optimization=True)
    calibration = Calibration(prepared, graph.with_name("ranges.json"), method)
    with tempfile.TemporaryDirectory() as scratch:
        _quantise(calibration, Path(scratch) / "first.onnx", reader=_Reader(inputs))
    return calibration


def quantise(calibration: Calibration, target: Path, *, keep: Sequence[str] = ()) -> None:
    """Write the graph with all layers in int8 but those of `keep`."""
    _quantise(calibration, target, nodes_to_exclude=list(keep))


def rank_layers(
    calibration: Calibration,
    run: Callable[[Path, Images], NDArray[np.float32]],
    images: Images,
    notify: Callable[[str], None] = lambda message: None,
) -> dict[str, float]:
    """The error of the logits where one layer alone is quantised, by layer, largest first; in units of their spread.

    run  computes the logits of images with a graph
    """
    exact = run(calibration.graph, images)
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        alone = Path(scratch) / "alone.onnx"
        layers = calibration.layers
        for i, layer in enumerate(layers):
            _quantise(calibration, alone, nodes_to_quantize=[layer])
            difference = run(alone, images) - exact
            errors[layer] = float(np.sqrt(np.square(difference).mean()) / exact.std())
            if i % 16 == 0:
                notify(f"measuring how sensitive layers are: {i} of {len(layers)}")
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def steps(layers: int) -> list[int]:
    """How many of the most sensitive layers to keep, from none up to half of them, doubling."""
    return [0, *(2**i for i in range(layers.bit_length()) if 2**i <= layers // 2)]


class _Reader:
    """What onnxruntime reads calibration data from; it asks for one input at a time by its index."""

    def __init__(self, inputs: list[dict[str, Images]]) -> None:
        self._inputs = inputs
        self._next, self._end = 0, len(inputs)

    def __len__(self) -> int:
        return len(self._inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, Images] | None:
        if self._next >= self._end:
            return None
        self._next += 1
        return self._inputs[self._next - 1]


def _quantise(calibration: Calibration, target: Path, reader: Any = None, **layers: list[str]) -> None:
    tools = _import()
    tools.quantize_static(
        calibration.graph,
        target,
        reader,
        quant_format=tools.QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTISED),
        per_channel=True,
        activation_type=tools.QuantType.QInt8,
        weight_type=tools.QuantType.QInt8,
        calibrate_method=tools.CalibrationMethod[METHODS[calibration.method]],
        extra_options=dict(OPTIONS),
        calibration_cache_path=calibration.ranges,
        **layers,
    )


def _import() -> Any:
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise EngineError(f"int8 needs onnxruntime ({error}): pip install 'zodi[cpu]'") from None
    return quantization
