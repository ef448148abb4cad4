"""How published files name the layers of each backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from btjax.models.efficientnet import EfficientNet
from btjax.models.inception import Inception
from btjax.models.resnet import ResNet

if TYPE_CHECKING:
    from btjax.models.backbone import Backbone

Path = tuple[str, str]
"""Stage and layer."""

Names = dict[Path, str]


@dataclasses.dataclass(frozen=True)
class Source:
    """How the files of one network name its layers.

    Attributes:
      title: the network's name for people.
      keras: from the model, its layers and those of a file to the name in the file of every layer of ours.
      torch: from the model and its layers to torchvision's module of each.
      scales: the scale of Keras's weights, where no normalisation in the file tells it, and of torchvision's.
      top: torchvision's name of the ImageNet classifier; Keras's is `predictions`.
      extra: torchvision's prefix of modules that serve training alone.
    """

    title: Callable[[Any], str]
    keras: Callable[[Any, list[Path], Iterable[str]], Names]
    torch: Callable[[Any, list[Path]], Names]
    scales: tuple[str, str]
    top: str
    extra: str = ""


def _joined(model: Backbone, paths: list[Path], found: Iterable[str]) -> Names:
    """Keras's names where they are stage and layer joined."""
    del model, found
    return {path: "_".join(path) for path in paths}


def _efficientnet_torch(model: EfficientNet, paths: list[Path]) -> Names:
    """Torchvision's modules: features.0 the stem, features.1 to 7 the groups, features.8 the top."""
    inner = {"conv": "0", "bn": "1"}
    parts = {"expand_conv": "0.0", "expand_bn": "0.1", "dwconv": "1.0", "bn": "1.1"}
    parts |= {"se_reduce": "2.fc1", "se_expand": "2.fc2", "project_conv": "3.0", "project_bn": "3.1"}
    names = {}
    for stage, layer in paths:
        if stage in ("stem", "top"):
            names[stage, layer] = f"features.{0 if stage == 'stem' else len(model.groups) + 1}.{inner[layer]}"
            continue
        part = parts[layer]
        if (stage, "expand_conv") not in paths:  # a block that does not expand begins with what is second elsewhere
            part = f"{int(part[0]) - 1}{part[1:]}"
        names[stage, layer] = f"features.{stage[5:-1]}.{ord(stage[-1]) - ord('a')}.block.{part}"
    return names


def _resnet_torch(model: ResNet, paths: list[Path]) -> Names:
    """Torchvision's modules: conv1, bn1, layer1.0.conv1, layer1.0.downsample.0 and so on."""
    del model
    names = {}
    for stage, layer in paths:
        if stage == "conv1":
            names[stage, layer] = f"{layer}1"
            continue
        group, block = stage.removeprefix("conv").split("_block")
        number, kind = layer.split("_")
        part = f"{kind}{number}" if number != "0" else f"downsample.{0 if kind == 'conv' else 1}"
        names[stage, layer] = f"layer{int(group) - 1}.{int(block) - 1}.{part}"
    return names


def _efficientnet_title(model: EfficientNet) -> str:
    return f"EfficientNet-{model.version.upper()}"


def _resnet_title(model: ResNet) -> str:
    return "ResNet50" if model.form == "keras" else "torchvision's ResNet50"


_INCEPTION_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_INCEPTION_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_INCEPTION_BRANCHES = {
    "5": "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool",
    "6a": "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3",
    "6": "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool",
    "7a": "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4",
    "7": "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool",
}


def _inception_keras(model: Inception, paths: list[Path], found: Iterable[str]) -> Names:
    """Keras numbers layers as it makes them, in a session that may have made others before: conv2d_94, conv2d_95."""

    def order(path: Path) -> tuple[int, int]:
        number = path[1].split("_")[0]
        return model.trunk.index(path[0]), int(number) if number.isdecimal() else 0

    found, names = list(found), {}
    for ours, kind in (("conv", "conv2d"), ("bn", "batch_normalization")):
        layers = sorted((path for path in paths if path[1].endswith(ours)), key=order)
        numbered = {name: name.removeprefix(kind).removeprefix("_") or "0" for name in found if name.startswith(kind)}
        held = sorted((n for n, number in numbered.items() if number.isdecimal()), key=lambda n: int(numbered[n]))
        expected = [f"{kind}_{number}" if number else kind for number in range(len(layers))]
        names |= dict(zip(layers, held if len(held) == len(layers) else expected, strict=True))
    return names


def _inception_torch(model: Inception, paths: list[Path]) -> Names:
    """Torchvision's modules: Conv2d_1a_3x3, Mixed_5b.branch1x1 and so on, each with conv and bn."""
    del model
    names = {}
    for stage, layer in paths:
        if stage.startswith("conv"):
            names[stage, layer] = f"{_INCEPTION_STEM[int(stage[4:]) - 1]}.{layer}"
            continue
        block = _INCEPTION_BLOCKS[int(stage.removeprefix("mixed"))]
        branches = _INCEPTION_BRANCHES.get(block) or _INCEPTION_BRANCHES[block[0]]
        number, kind = layer.split("_")
        names[stage, layer] = f"Mixed_{block}.branch{branches.split()[int(number) - 1]}.{kind}"
    return names


def _inception_title(model: Inception) -> str:
    del model
    return "InceptionV3"


_SOURCES: dict[type, Source] = {
    EfficientNet: Source(_efficientnet_title, _joined, _efficientnet_torch, ("torch", "torch"), "classifier.1"),
    ResNet: Source(_resnet_title, _joined, _resnet_torch, ("caffe", "torch"), "fc"),
    # torchvision's own model turns its usual scale into the signed one before all else.
    Inception: Source(_inception_title, _inception_keras, _inception_torch, ("signed", "signed"), "fc", "AuxLogits."),
}


def source_of(model: Backbone) -> Source:
    """How the files of a backbone's network name its layers."""
    return next(source for kind, source in _SOURCES.items() if isinstance(model, kind))
