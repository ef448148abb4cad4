"""Published VGG16 weights -> variables of `btjax.models.vgg16.VGG16`; every leaf is checked.

Sources: Keras's files in any of its layouts (`.h5`, `.weights.h5`, `.keras`; with or without the ImageNet top),
torchvision's `vgg16` state dict, and the checkpoint that `save` makes of any of them.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
from flax import traverse_util

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.data.download import RemoteFile
from btjax.models.vgg16 import CONVOLUTIONS, TOP
from btjax.weights.keras import read_keras
from btjax.weights.leaves import check_values
from btjax.weights.torch_files import SUFFIXES

OFFICIAL = RemoteFile(
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    58889256,
    md5="6d6bbae143d832006294945121d1f1fc",
)
"""ImageNet's VGG16 without its top, as Keras publishes it (Oxford VGG, CC BY 4.0)."""

_CHECKPOINT = "vgg16"
_TORCHVISION = dict(
    zip(CONVOLUTIONS, (f"features.{place}" for place in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)), strict=True)
) | {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights and the scale of the inputs that they were trained on.

    Attributes:
      params: layer -> {"kernel", "bias"}, float32, in the layouts of Flax; kernels [3, 3, in, out] and [in, out].
      scale: the `Preprocessing.scale` that they need: caffe (Keras) or torch (torchvision).
    """

    params: dict[str, dict[str, np.ndarray]]
    scale: str

    @property
    def variables(self) -> dict[str, Any]:
        """What `VGG16.apply` takes, {"params", "batch_stats"}; there are no batch statistics."""
        return {"params": self.params, "batch_stats": {}}

    @property
    def base(self) -> dict[str, Any]:
        """The variables of the 13 convolutions alone."""
        return {"params": {layer: self.params[layer] for layer in CONVOLUTIONS}, "batch_stats": {}}


def expected_shapes(top: bool) -> dict[str, tuple[int, ...]]:
    """The shape of every leaf by its name, such as block1_conv1/kernel; with the ImageNet top if asked."""
    shapes, channels = {}, 3
    for layer, width in CONVOLUTIONS.items():
        shapes |= {f"{layer}/kernel": (3, 3, channels, width), f"{layer}/bias": (width,)}
        channels = width
    units = 7 * 7 * channels
    for layer, width in TOP.items() if top else ():
        shapes |= {f"{layer}/kernel": (units, width), f"{layer}/bias": (width,)}
        units = width
    return shapes


def load(path: str | pathlib.Path) -> Weights:
    """Loads weights from Keras's file, in any layout that `btjax.weights.keras` reads, or from a checkpoint of `save`.

    Args:
      path: the file, or the checkpoint's folder.

    Raises:
      InputError: nothing there, another kind of file or network, or a leaf that is missing, too many or of another
        shape.
    """
    path = expanded(path)
    if path.is_dir():
        return _load_checkpoint(path)
    if not path.is_file():
        raise InputError(
            f"--weights={path}: not found, expected Keras's VGG16 file (.h5, .keras) or a converted checkpoint"
        )
    if path.suffix in SUFFIXES:
        raise InputError(f"--weights={path}: PyTorch's weights, expected a checkpoint: scripts/convert_vgg16 makes one")
    found = read_keras(path, "--weights=", "Keras's VGG16 weights")
    leaves = found.leaves({"conv2d": tuple(CONVOLUTIONS), "dense": tuple(TOP)})
    return Weights(_params(leaves, str(path)), "caffe")


def from_torchvision(state: dict[str, np.ndarray], where: str) -> Weights:
    """Weights of torchvision's `vgg16` state dict.

    Args:
      state: name -> array: convolutions [out, in, 3, 3], dense layers [out, in].
      where: names the source in an error.

    Raises:
      InputError: as in `load`.
    """
    leaves, left = {}, set(state)
    for layer, name in _TORCHVISION.items():
        for leaf, suffix in (("kernel", "weight"), ("bias", "bias")):
            if f"{name}.{suffix}" in state:
                array = np.asarray(state[f"{name}.{suffix}"])
                leaves[f"{layer}/{leaf}"] = _from_torch(layer, array)
                left.discard(f"{name}.{suffix}")
    if left:
        raise InputError(f"{where}: {min(left)} is none of VGG16's, expected torchvision's vgg16")
    return Weights(_params(leaves, where), "torch")


def save(weights: Weights, folder: str | pathlib.Path) -> None:
    """Saves weights as an Orbax checkpoint that `load` reads; InputError where that cannot be written."""
    top = "fc1" in weights.params
    Checkpoints(pathlib.Path(folder)).save(_CHECKPOINT, weights.params, 0, {"scale": weights.scale, "top": top})


def _load_checkpoint(folder: pathlib.Path) -> Weights:
    import jax

    checkpoints = Checkpoints(folder)
    if not checkpoints.exists(_CHECKPOINT):
        raise InputError(f"--weights={folder}: no converted weights there; scripts/convert_vgg16 makes them")
    about = checkpoints.progress(_CHECKPOINT)
    shapes = {
        tuple(name.split("/")): jax.ShapeDtypeStruct(shape, np.float32)
        for name, shape in expected_shapes(about["top"]).items()
    }
    params, about = checkpoints.load(_CHECKPOINT, traverse_util.unflatten_dict(shapes))
    return Weights(jax.tree.map(np.asarray, params), about["scale"])


def _from_torch(layer: str, array: np.ndarray) -> np.ndarray:
    """PyTorch's layouts to ours; fc1 reads channels, rows, columns there and rows, columns, channels here."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2 and layer == "fc1" and array.shape[1] == 512 * 7 * 7:
        array = array.reshape(-1, 512, 7, 7).transpose(0, 2, 3, 1).reshape(len(array), -1)
    return array.T


def _params(leaves: dict[str, np.ndarray], where: str) -> dict[str, dict[str, np.ndarray]]:
    """Nested params of leaves by name; each must be there, be known and have its shape."""
    expected = expected_shapes(top=any(name.startswith(tuple(TOP)) for name in leaves))
    for name in [*expected, *sorted(leaves.keys() - expected.keys())]:
        wanted = expected.get(name, "absent")
        found = tuple(np.shape(leaves[name])) if name in leaves else "absent"
        if found != wanted:
            raise InputError(f"{where}: not VGG16's weights: {name} is {found}, expected {wanted}")
    for name in expected:
        check_values(np.asarray(leaves[name]), f"{where}: {name}")
    params = {tuple(name.split("/")): np.asarray(leaves[name], np.float32) for name in expected}
    return traverse_util.unflatten_dict(params)
