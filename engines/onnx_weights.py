"""Weights of an ONNX file that are a link into a store: runtimes refuse what leads out of the file's own folder.

Hub caches, DVC and git-annex keep directories of links. A bundle's files are verified by their content on opening,
wherever they are.
"""

from pathlib import Path
from typing import Any

import numpy as np


def linked_weights(path: Path) -> Path | None:
    """The real file of `path`.data where that is a link, else None."""
    data = path.with_name(f"{path.name}.data")
    return data.resolve() if data.is_symlink() else None


def rename_weights(model: bytes, path: Path, name: str) -> bytes:
    """A serialised model that was read from `path`, with its weights in a file `name` instead of `path`.data."""
    import onnx

    proto = onnx.ModelProto.FromString(model)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value == f"{path.name}.data":
                entry.value = name
    content: bytes = proto.SerializeToString()
    return content


def detach_weights(path: Path, weights: Path) -> tuple[bytes, dict[str, np.ndarray[Any, Any]]]:
    """A model whose external weights are further inputs, and these weights by name, mapped from the file `weights`."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    data = np.memmap(weights, np.uint8, "c")
    arrays, inside = {}, []
    for tensor in proto.graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if not place:
            inside.append(tensor)
            continue
        start = int(place.get("offset", 0))
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        arrays[tensor.name] = data[start : start + int(place["length"])].view(kind).reshape(tensor.dims)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(inside)
    return proto.SerializeToString(), arrays
