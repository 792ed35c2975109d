"""A segmenter's TensorRT plan on a GPU. Built, not run: there was no machine with a GPU; see docs/deploy.md."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zodi.engines.segmenters import Images
from zodi.engines.trt_product import open_log, require
from zodi.segmenter.info import PORT

DTYPES = {"UINT8": "uint8", "FLOAT": "float32"}


class Plan:
    """A deserialised plan with one context; see `zodi.engines.segmenters.RunFile`."""

    def __init__(self, product: Any, plan: bytes, device: torch.device) -> None:
        self._device, self._log = device, open_log(product)
        self._runtime = product.Runtime(self._log)
        self._engine = require(self._runtime.deserialize_cuda_engine(plan), "load the plan", self._log)
        settings = self._engine.create_runtime_config()
        settings.set_execution_context_allocation_strategy(product.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._context = require(self._engine.create_execution_context(settings), "prepare the plan", self._log)
        self._memory = torch.empty(max(1, self._engine.device_memory_size_v2), dtype=torch.uint8, device=device)
        self._context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        (self._output,) = [name for name in names if name != PORT]
        self._dtype: torch.dtype = getattr(torch, DTYPES[self._engine.get_tensor_dtype(self._output).name])
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, images: Images) -> NDArray[np.generic]:
        pixels = torch.from_numpy(images).to(self._device)
        require(self._context.set_input_shape(PORT, tuple(pixels.shape)), "take the images' shape", self._log)
        shape = tuple(self._context.get_tensor_shape(self._output))
        result = torch.empty(shape, dtype=self._dtype, device=self._device)
        require(self._context.set_tensor_address(PORT, pixels.data_ptr()), "bind the images", self._log)
        require(self._context.set_tensor_address(self._output, result.data_ptr()), "bind the result", self._log)
        torch.cuda.synchronize(self._device)
        require(self._context.execute_async_v3(self._stream.cuda_stream), "run the plan", self._log)
        self._stream.synchronize()
        return np.asarray(result.cpu())
