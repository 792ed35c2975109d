"""What is known of a segmenter without its weights and without PyTorch: of a checkpoint, and of a file made of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from zodi.errors import ModelError
from zodi.labels import IGNORE, Colour, LabelSet

RESIZE_KERNELS = ("lanczos",)
VOID_LOGIT = "void_logit"  # the option that adds a logit that no pixel is ever trained towards, as the original has

METADATA_KEY = "zodi"  # of the JSON object inside an exported file
PORT = "image"  # name of a file's input
FORMATS = ("onnx", "openvino", "trt")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
DYNAMIC = ("batch", "all", "none")
OUTPUTS = ("labels", "logits", "probabilities")
FITS = ("resize", "window")


@dataclass(frozen=True)
class SegmenterInfo:
    """What `model.json` says.

    architecture, encoder, options  what `build_net` is called with
    classes    names by train id; the net has as many logits, one more with the option "void_logit"
    palette    colours by train id
    ignore     train id of void
    mean, std  of the input, RGB, of values 0..1
    size       (height, width) that images were resized to in training
    resize     the kernel that did it
    """

    architecture: str
    encoder: str
    options: Mapping[str, Any]
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: tuple[int, int]
    ignore: int = IGNORE
    resize: str = "lanczos"

    @property
    def net(self) -> str:
        """What a message calls the net."""
        return f"{self.architecture} on {self.encoder}" + (f" with {dict(self.options)}" if self.options else "")

    @property
    def logits(self) -> int:
        """How many channels the net's output has."""
        return len(self.classes) + bool(self.options.get(VOID_LOGIT, False))


@dataclass(frozen=True)
class FileInfo:
    """What an exported file says of itself: a flat JSON object in its metadata, under "zodi".

    model      as in model.json; `size` is the (height, width) that images are brought to for this file
    format     "onnx", "openvino" or "trt"
    precision  "fp32", "fp16", "bf16" or "int8"; of an openvino file "bf16" is what it asks its runtime for
    output     "labels": train ids (B, H, W) uint8; "logits" or "probabilities": (B, C, H, W) float32
    dynamic    what may vary: the "batch", "all" (batch and size), or "none"
    batch      smallest, usual and largest number of images in a call
    fit        images of another size are resized ("resize"), or cut into windows of `size` ("window")
    multiple   sides are multiples of it, where the size may vary
    made       exporter, opset, sha256 of the checkpoint's weights, version of zodi; of an onnx file also its
               "ir_version", and "onnxruntime", the first version that runs it
    """

    model: SegmenterInfo
    format: str
    precision: str
    output: str
    dynamic: str
    batch: tuple[int, int, int]
    fit: str
    multiple: int
    made: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The object that `file_info_from_json` reads."""
        table = asdict(self)
        return {**table.pop("model"), **table}


def palette_of(label_set: LabelSet) -> tuple[Colour, ...]:
    """The colours of the train ids 0..C-1."""
    rows = label_set.palette[: label_set.num_classes].tolist()
    return tuple((red, green, blue) for red, green, blue in rows)


def info_from_json(content: Any, where: str) -> SegmenterInfo:
    """The description that an object from model.json holds; ModelError, which begins with `where`, for another."""
    known = [field.name for field in fields(SegmenterInfo)]
    _check_keys(content, known, where)
    try:
        info = SegmenterInfo(
            architecture=str(content["architecture"]),
            encoder=str(content["encoder"]),
            options=dict(content["options"]),
            classes=tuple(map(str, content["classes"])),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in content["palette"]),
            mean=_three(content["mean"]),
            std=_three(content["std"]),
            size=(int(content["size"][0]), int(content["size"][1])),
            ignore=int(content["ignore"]),
            resize=str(content["resize"]),
        )
    except (TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{where}: a value has the wrong form ({error}): copy it again") from None
    if len(info.palette) != len(info.classes):
        raise ModelError(f"{where}: {len(info.classes)} classes and {len(info.palette)} colours: give one for each")
    if info.resize not in RESIZE_KERNELS:
        raise ModelError(f"{where}: unknown resize kernel {info.resize!r}: allowed are {', '.join(RESIZE_KERNELS)}")
    return info


def file_info_from_json(content: Any, where: str) -> FileInfo:
    """The description that an exported file holds; ModelError, which begins with `where`, for another object."""
    own = [field.name for field in fields(FileInfo) if field.name != "model"]
    model = [field.name for field in fields(SegmenterInfo)]
    _check_keys(content, [*model, *own], where)
    for key, allowed in (
        ("format", FORMATS), ("precision", PRECISIONS), ("output", OUTPUTS), ("dynamic", DYNAMIC), ("fit", FITS),
    ):  # fmt: skip
        if content[key] not in allowed:
            raise ModelError(f"{where}: {key} is {content[key]!r}, allowed are {', '.join(allowed)}: export it again")
    try:
        smallest, usual, largest = map(int, content["batch"])
        return FileInfo(
            info_from_json({key: content[key] for key in model}, where),
            **{key: content[key] for key in ("format", "precision", "output", "dynamic", "fit")},
            batch=(smallest, usual, largest),
            multiple=int(content["multiple"]),
            made=dict(content["made"]),
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where}: a value has the wrong form ({error}): export it again") from None


def _check_keys(content: Any, known: list[str], where: str) -> None:
    if not isinstance(content, dict):
        raise ModelError(f"{where}: holds no JSON object: copy it again")
    wrong = [f"unknown key {key!r}" for key in content if key not in known]
    wrong += [f"no key {key!r}" for key in known if key not in content]
    if wrong:
        raise ModelError(f"{where}: {wrong[0]}: its keys must be {', '.join(known)}")


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
