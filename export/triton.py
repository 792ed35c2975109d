"""A model repository for NVIDIA's Triton Inference Server: the file, its configuration and its class names."""

import shutil
from pathlib import Path

from zodi.errors import OutputError
from zodi.export.segmenter_files import FILES
from zodi.files import write_atomic
from zodi.segmenter.info import PORT, FileInfo

NAME = "segmenter"
VERSION = "1"
LABELS = "labels.txt"
BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino", "trt": "tensorrt"}
QUEUE_MICROSECONDS = 2000  # that a request may wait for others to share its batch
TYPES = {"labels": "TYPE_UINT8", "logits": "TYPE_FP32", "probabilities": "TYPE_FP32"}


def write_repository(directory: Path, exported: Path, file: FileInfo) -> Path:
    """Write `segmenter/config.pbtxt`, `labels.txt` and version 1 of the model; the folder of the model.

    exported  the directory that `zodi export-segmenter` wrote

    Raises OutputError where it cannot be written.
    """
    model = directory / NAME
    try:
        (model / VERSION).mkdir(parents=True, exist_ok=True)
        for name in FILES[file.format]:
            target = "model.plan" if name == "model.engine" else name  # what the backend looks for
            if not name.endswith(".json"):
                shutil.copyfile(exported / name, model / VERSION / target)
    except OSError as error:
        raise OutputError(f"{model}: cannot be written ({error.strerror}): choose another --triton") from None
    write_atomic(model / LABELS, ("\n".join(file.model.classes) + "\n").encode())
    write_atomic(model / "config.pbtxt", configuration(file).encode())
    return model


def configuration(file: FileInfo) -> str:
    """The text of config.pbtxt.

    Requests are batched where the file takes several images; the first start runs one, so that no user waits for it.
    """
    height, width = file.model.size
    sides = [-1, -1] if file.dynamic == "all" else [height, width]
    shape = sides if file.output == "labels" else [len(file.model.classes), *sides]
    batched = file.dynamic != "none"
    first = [] if batched else [file.batch[1]]  # without batching Triton's shapes have the batch too
    blocks = [
        f'name: "{NAME}"',
        f'backend: "{BACKENDS[file.format]}"',
        f"max_batch_size: {file.batch[2] if batched else 0}",
        f'input [{{ name: "{PORT}" data_type: TYPE_UINT8 dims: {[*first, *sides, 3]} }}]',
        f'output [{{ name: "{file.output}" data_type: {TYPES[file.output]} dims: {[*first, *shape]} '
        f'label_filename: "{LABELS}" }}]',
        f"instance_group [{{ count: 1 kind: {'KIND_GPU' if file.format == 'trt' else 'KIND_AUTO'} }}]",
        f'model_warmup [{{ name: "one image" batch_size: {int(batched)} inputs {{ key: "{PORT}" value {{ '
        f"data_type: TYPE_UINT8 dims: {[*first, height, width, 3]} zero_data: true }} }} }}]",
    ]
    if batched:
        blocks.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}")
    return "\n".join(blocks) + "\n"
