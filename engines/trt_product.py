"""The two products behind `--engine trt`, `tensorrt` and `tensorrt_rtx`: one programming interface, two names.

`tensorrt` builds plans on the GPU that will run them, for any GPU. `tensorrt_rtx` also builds them ahead of time, on a
machine without a GPU, for the compute capabilities of RTX cards.
"""

import importlib
import importlib.util
import platform
import re
from collections.abc import Sequence
from typing import Any

from zodi.errors import EngineError

RTX = "tensorrt_rtx"
PRODUCTS = {  # import name -> oldest version, extra of zodi; the first that can be imported is taken
    "tensorrt": ((10, 16), "gpu"),
    RTX: ((1, 7), "rtx"),
}
REASON = re.compile(r"\((?P<reason>.+?)\s+In \S+ at /")  # what TensorRT says, without where in its source


def installed_products() -> list[str]:
    """The products whose Python package can be found, in the order of preference."""
    return [name for name in PRODUCTS if importlib.util.find_spec(name) is not None]


def find_product(names: Sequence[str] = tuple(PRODUCTS)) -> Any:
    """Import the first product that is complete; its `__name__` tells which it is.

    Raises EngineError that says what is missing of each, and what to install.
    """
    problems = []
    for name in names:
        try:
            product = importlib.import_module(name)
        except ImportError as error:
            problems.append(f"{name} cannot be imported ({error})")
            continue
        oldest, _ = PRODUCTS[name]
        if _numbers(product.__version__) >= oldest:
            return product
        problems.append(f"{name} is {product.__version__}, needed is {'.'.join(map(str, oldest))} or newer")
    ways = " or ".join(f"pip install 'zodi[{PRODUCTS[name][1]}]'" for name in names)
    raise EngineError(f"--engine trt: {'; '.join(problems)}: {ways}, see docs/gpu.md")


def system_name() -> str:
    """Operating system and processor, to which plans are tied: "linux-x86_64"."""
    return f"{platform.system()}-{platform.machine()}".lower()


def capabilities(product: Any) -> dict[str, Any]:
    """What a product builds for ahead of time: {"8.6": its constant, ...}; empty for `tensorrt`."""
    if product.__name__ != RTX:
        return {}
    named = product.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in named if name.startswith("SM")}


def runtime_settings(product: Any) -> dict[str, Any]:
    """What to set on a plan's runtime configuration, by name; `tensorrt` has nothing like it."""
    if product.__name__ != RTX:
        return {}
    return {
        "cuda_graph_strategy": product.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE,
        # else the first calls at new sizes run on slow kernels while better ones are compiled beside them
        "dynamic_shapes_kernel_specialization_strategy": product.DynamicShapesKernelSpecializationStrategy.EAGER,
    }


def open_log(product: Any) -> Any:
    """A TensorRT logger that keeps what went wrong in `errors` and prints nothing."""

    class Log(product.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= product.ILogger.Severity.ERROR:
                self.errors.append(message)

    return Log()


def first_error(log: Any) -> str:
    """The reason that TensorRT gave first, in one line."""
    # without a GPU the driver is complained about as well, after or before what matters
    lines = [line for line in log.errors if "cudaError" not in line] or log.errors or ["it gives no reason"]
    found = REASON.search(lines[0])
    return " ".join((found["reason"] if found else lines[0]).split())[:300]


def require(done: Any, what: str, log: Any) -> Any:
    """`done`, unless it is None or False, by which TensorRT says that it did not do something; then EngineError."""
    if done is None or done is False:
        raise EngineError(f"TensorRT cannot {what}: {first_error(log)}")
    return done


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
