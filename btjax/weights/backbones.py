"""Published weights of backbones -> variables of their trunks; every leaf of a file is accounted for.

Sources: Keras's files, with or without the ImageNet top (`.h5`, and `.weights.h5` and `.keras` that keep the layers'
names), and torchvision's state dicts (`.pth`, `.safetensors`), whose networks differ from Keras's: the model's `form`
says which it is.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import traverse_util

from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.weights.backbone_names import source_of
from btjax.weights.keras import read_keras
from btjax.weights.leaves import check_values
from btjax.weights.torch_files import SUFFIXES, read_torch

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

    from btjax.models.backbone import Backbone

Leaves = dict[str, np.ndarray]
Path = tuple[str, ...]

IMAGENET_CLASSES = 1000
_KERAS = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}
_TORCH = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """A trunk's weights and the scale of the inputs that they were trained on.

    Attributes:
      base: {"params", "batch_stats"} of the trunk's stages, float32.
      scale: the `Preprocessing.scale` that they need.
    """

    base: dict[str, Any]
    scale: str

    @property
    def folded(self) -> bool:
        """Whether normalisation was folded into the kernels: no statistics of training are left."""
        leaves: dict[Path, Any] = traverse_util.flatten_dict(self.base["batch_stats"])
        return all(np.all(leaf == (0 if path[-1] == "mean" else 1)) for path, leaf in leaves.items())


def load(path: str | pathlib.Path, model: Backbone) -> Weights:
    """Loads the published weights of a backbone's trunk.

    Args:
      path: Keras's file or torchvision's.
      model: whose weights they should be; its options say which version and form.

    Returns:
      The weights; an ImageNet top in the file is left out.

    Raises:
      InputError: nothing there; another kind of file, network, version, form or top; a leaf that is missing, too many
        or of another shape; numbers that are none.
    """
    path, source = expanded(path), source_of(model)
    where = f"--weights={path}"
    kind = "torch" if path.suffix in SUFFIXES else "keras"
    if not path.is_file():
        raise InputError(f"{where}: not found, expected {source.title(model)}'s weights, Keras's or torchvision's file")
    if kind != model.form:
        raise InputError(f"--form={model.form}: the weights in {path} expect --form={kind}")
    if kind == "torch":
        return from_torch(read_torch(path, where), model, where)
    found = read_keras(path, "--weights=", f"Keras's {source.title(model)}")
    if not found.named:
        raise InputError(f"{where}: its layers have no names, expected a file that keeps them, such as Keras's .h5")
    return from_keras(found.layers, model, where)


def from_keras(layers: Mapping[str, dict[str, np.ndarray]], model: Backbone, where: str) -> Weights:
    """Weights of Keras's layers, as `load`.

    Args:
      layers: layer -> variable -> array, see `btjax.weights.keras`.
      model: whose they should be.
      where: names the source in an error.
    """
    source, expected = source_of(model), expected_leaves(model)
    names = source.keras(model, _layers(expected), layers)
    # Keras 3 keeps the random state of dropout among the layers.
    layers = {name: held for name, held in layers.items() if "seed_generator" not in name}
    normalised = [name for name in layers if name.split("_")[0] == "normalization"]
    scale = _scale(layers.pop(normalised[0]), where) if normalised else source.scales[0]
    wanted = {path: f"{names[path[1], path[2]]}/{_keras_variable(path)}" for path in expected}
    leaves = {f"{layer}/{name}": array for layer, held in layers.items() for name, array in held.items()}
    top = {"predictions/kernel": (_width(model), IMAGENET_CLASSES), "predictions/bias": (IMAGENET_CLASSES,)}
    return Weights(_variables(model, leaves, wanted, top, where, from_torch=False), scale)


def from_torch(state: Mapping[str, np.ndarray], model: Backbone, where: str) -> Weights:
    """Weights of torchvision's state dict, name -> array; as `from_keras`."""
    source, expected = source_of(model), expected_leaves(model)
    names = source.torch(model, _layers(expected))
    wanted = {path: f"{names[path[1], path[2]]}.{_TORCH.get(path[-1], path[-1])}" for path in expected}
    leaves = {
        name: array
        for name, array in state.items()
        if not name.endswith(".num_batches_tracked") and not (source.extra and name.startswith(source.extra))
    }
    top = {f"{source.top}.weight": (IMAGENET_CLASSES, _width(model)), f"{source.top}.bias": (IMAGENET_CLASSES,)}
    return Weights(_variables(model, leaves, wanted, top, where, from_torch=True), source.scales[1])


def expected_leaves(model: Backbone) -> dict[Path, tuple[int, ...]]:
    """The shape of every leaf of the trunk by (collection, stage, layer, leaf)."""
    inputs = jax.ShapeDtypeStruct((1, model.smallest, model.smallest, 3), np.float32)
    shapes: Any = jax.eval_shape(model.init, jax.random.key(0), inputs)
    leaves: dict[Path, Any] = traverse_util.flatten_dict({name: shapes[name] for name in ("params", "batch_stats")})
    return {path: leaf.shape for path, leaf in leaves.items() if path[1] in model.trunk}


def _layers(expected: dict[Path, Any]) -> list[tuple[str, str]]:
    return sorted({(path[1], path[2]) for path in expected})


def _variables(
    model: Backbone,
    leaves: Leaves,
    wanted: dict[Path, str],
    top: dict[str, tuple[int, ...]],
    where: str,
    *,
    from_torch: bool,
) -> dict[str, Any]:
    """The trunk's variables of leaves by their names in the file, of which none may be missing or left over."""
    title, found = source_of(model).title(model), {}
    other = f"{where}: not the weights of {title}"
    for path, shape in expected_leaves(model).items():
        if wanted[path] not in leaves:
            raise InputError(f"{other}: {wanted[path]} is missing")
        array = np.asarray(leaves[wanted[path]])
        array = _rearranged(array, path, from_torch)
        if array.shape != shape:
            held, there = np.shape(leaves[wanted[path]]), _there(shape, path, from_torch)
            raise InputError(f"{other}: {wanted[path]} is {held}, expected {there}")
        check_values(array, f"{where}: {wanted[path]}")
        found[path] = np.asarray(array, np.float32)
    for name in sorted(leaves.keys() - set(wanted.values())):
        if name not in top:
            raise InputError(f"{other}: {name} is none of its layers'")
        if np.shape(leaves[name]) != top[name]:
            raise InputError(
                f"{where}: {name} is {np.shape(leaves[name])}, expected {title} without its top, or with ImageNet's: "
                f"{top[name]}"
            )
    return traverse_util.unflatten_dict(found)


def _rearranged(array: np.ndarray, path: Path, from_torch: bool) -> np.ndarray:
    """A file's array in Flax's layout; a depthwise kernel is [h, w, 1, C] here and [h, w, C, 1] in Keras."""
    if array.ndim != 4:
        return array
    if from_torch:
        return array.transpose(2, 3, 1, 0)
    return array.transpose(0, 1, 3, 2) if path[2] == "dwconv" else array


def _there(shape: tuple[int, ...], path: Path, from_torch: bool) -> tuple[int, ...]:
    """A shape of ours as the file has it."""
    if len(shape) != 4:
        return shape
    height, width, channels, features = shape
    if from_torch:
        return features, channels, height, width
    return (height, width, features, channels) if path[2] == "dwconv" else shape


def _keras_variable(path: Path) -> str:
    leaf = path[-1]
    return _KERAS.get(leaf, "beta" if leaf == "bias" and path[2].endswith("bn") else leaf)


def _scale(normalisation: dict[str, np.ndarray], where: str) -> str:
    """The scale that an EfficientNet's normalisation of its inputs amounts to.

    In the file that Keras publishes the variance is the deviation, not its square, and `weights="imagenet"` divides
    once more by the deviation's square root; both come to (x - mean) / deviation.
    """
    mean, variance = (np.asarray(normalisation.get(name, np.nan), np.float64).ravel() for name in ("mean", "variance"))
    if np.allclose(mean, 0) and np.allclose(variance, 1):
        return "unit"
    squares = np.square(_DEVIATIONS)
    known = len(mean) == 3 and np.allclose(mean, _MEANS, atol=1e-4)
    if known and any(len(variance) == 3 and np.allclose(variance, one, rtol=1e-3) for one in (squares, _DEVIATIONS)):
        return "torch"
    raise InputError(
        f"{where}: its inputs are normalised by the means {mean.round(4).tolist()} and variances "
        f"{variance.round(4).tolist()}, expected ImageNet's or none"
    )


def _width(model: Backbone) -> int:
    """Channels of the trunk's output."""
    inputs = jax.ShapeDtypeStruct((1, model.smallest, model.smallest, 3), np.float32)
    features, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, stop=model.trunk[-1]), inputs)
    return jax.tree.leaves(features)[0].shape[-1]  # the first of a tuple is the map
