"""The graphs of a bundle on TensorRT, from plans that were built for this GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from zodi.engines import Engine
from zodi.engines.bundle import Bundle
from zodi.engines.devices import find_device
from zodi.engines.trt_plans import check_gpu, check_plans
from zodi.engines.trt_product import RTX
from zodi.errors import EngineError

Launch = Callable[[], Any]


@contextmanager
def open_engine(bundle: Bundle, *, precision: str, device: str, threads: int | None = None) -> Iterator[Engine]:
    """See `zodi.engines.open_engine`. The precision is that of the bundle's files; threads are the CPU's affair."""
    if bundle.precision != precision:
        raise EngineError(
            f"{bundle.directory}: the files are {bundle.precision}, asked for is {precision}: use "
            f"--precision {bundle.precision}, or export a bundle with --precision {precision}"
        )
    product = check_plans(bundle)
    where = find_device(device)
    check_gpu(bundle, where)
    from zodi.engines.trt_runtime import TrtEngine

    # with images of one size there are few shapes, each worth a CUDA graph; tensorrt_rtx makes its own
    captures = bundle.sizes.static and product.__name__ != RTX
    engine = TrtEngine(product, bundle, capture if captures else lambda run, stream: run, where)
    try:
        yield engine
    finally:
        vars(engine).clear()  # the GPU's memory goes back, whoever still holds the engine


def capture(run: Launch, stream: Any) -> Launch:
    """A CUDA graph of what `run` launches; the first run is outside of it, as it does what must not be captured."""
    import torch

    with torch.cuda.stream(stream):
        run()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph.replay
