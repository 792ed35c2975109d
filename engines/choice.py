"""`--engine auto`: the fastest exact engine that is installed and runs on the device."""

import importlib
from collections.abc import Sequence

from zodi.engines import installed_engines
from zodi.engines.devices import find_device
from zodi.errors import EngineError

# fastest first, see docs/engines.md for what the order rests on
CPU_ORDER = ("ort", "openvino", "torch")
CUDA_ORDER = ("ort", "torch")


def choose_engine(device: str, precision: str = "fp32", *, without: Sequence[str] = ()) -> str:
    """The name of the engine for a device and precision; all of them compute what PyTorch does, to rounding.

    without  engines that are out of the question

    Raises EngineError where none is left.
    """
    here = [name for name in installed_engines() if name not in without]
    if find_device(device).type == "cpu":
        found = [name for name in CPU_ORDER if name in here and (name != "ort" or precision == "fp32")]
    else:
        found = [name for name in CUDA_ORDER if name in here and (name != "ort" or _ort_has_cuda())]
    if not found:
        raise EngineError(
            f"no engine that runs from files is installed for {find_device(device).type}: pip install 'zodi[cpu]' or "
            "'zodi[gpu]', or name another with --engine"
        )
    return found[0]


def _ort_has_cuda() -> bool:
    return "CUDAExecutionProvider" in importlib.import_module("onnxruntime").get_available_providers()
