"""Weights as Keras writes them, in any of its layouts, read into arrays by layer and variable.

Layouts, told apart by what is in the file, not by its name:
- legacy HDF5 (`.h5` of Keras 1, 2 and 3, alone or in a whole saved model): `layer_names` of the root, `weight_names` of
  each layer's group, the variables' names with it;
- `.weights.h5` of Keras 3 (and of 2.13 to 2.15): groups by kind of layer, conv2d, conv2d_1, ..., variables numbered;
  from Keras 3.6 on each group knows its layer's name, before that no names are kept;
- `.keras` archives: such a file in a zip, beside a config that names the layers in order.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.hdf5 import child, open_hdf5, read_numbers, texts
from btjax.base.opening import open_regular
from btjax.base.zips import open_zip, read_member

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping, Sequence

Layers = dict[str, dict[str, np.ndarray]]
"""Layer -> variable -> array, in Keras's layouts: kernels [rows, columns, in, out] or [in, out]."""

_DEEPEST = 32
_ARCHIVED = "model.weights.h5"
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_NORMALISED = ("gamma", "beta", "moving_mean", "moving_variance")
_VARIABLES = {
    "dense": ("kernel", "bias"),
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "normalization": ("mean", "variance", "count"),
}
_FORMER = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}


@dataclasses.dataclass(frozen=True, eq=False)
class KerasWeights:
    """The weights in a file.

    Attributes:
      layers: the layers with variables, in the order of the model where the file keeps that (legacy files and
        archives); else by kind in order, as conv2d, conv2d_1, ..., conv2d_10.
      named: whether the keys of `layers` are the layers' names, or only kind and number.
    """

    layers: Layers
    named: bool

    def by_name(self, kinds: Mapping[str, Sequence[str]]) -> Layers:
        """The layers by the names that they have in a known network.

        Args:
          kinds: kind of layer, such as conv2d or batch_normalization -> names of the network's layers of that kind, in
            its order; for a file without names, whose layers of a kind take these names in turn.

        Returns:
          The layers; those beyond the known ones keep their kind and number.
        """
        if self.named:
            return self.layers
        waiting = {kind: iter(names) for kind, names in kinds.items()}
        return {next(waiting.get(_kind(key), iter(())), key): held for key, held in self.layers.items()}

    def leaves(self, kinds: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """`by_name` flat: array by layer/variable."""
        return {f"{layer}/{name}": a for layer, held in self.by_name(kinds).items() for name, a in held.items()}


def read_keras(path: pathlib.Path, flag: str = "", expected: str = "Keras's weights") -> KerasWeights:
    """Reads the weights in a file of any of Keras's layouts; every variable of every layer.

    Variables are called kernel, bias, gamma, beta, moving_mean, moving_variance, mean, variance, count,
    depthwise_kernel and pointwise_kernel (of separable convolutions) whatever the layout calls them; those of other
    kinds of layers keep their name, or their number. Of a normalisation with three numbered variables the first is
    taken for beta, as Keras's Inception has no gamma.

    Args:
      path: an existing file.
      flag: what named it, such as "--weights=", for errors.
      expected: what should be in it, for errors.

    Returns:
      The weights, in the dtypes of the file.

    Raises:
      InputError: another kind of file, a damaged one, or one without weights.
    """
    with foreign(f"{flag}{path}"), open_regular(path, "weights_file") as file:
        page, zipped = file.read(64).lstrip()[:1] == b"<", zipfile.is_zipfile(file)
    if page:
        raise InputError(f"{flag}{path}: found an HTML page, expected {expected} in HDF5 or .keras")
    damaged = f"{flag}{path}: found a damaged file or one of another kind"
    with foreign(damaged, f"{expected} in HDF5 or .keras"):
        names, content, where = None, path, f"{flag}{path}"
        if zipped:
            with open_zip(path) as archive:
                content = read_member(archive, _ARCHIVED, damaged, "weights_file")
                names = _names(json.loads(read_member(archive, "config.json", damaged, "json")))
        with open_hdf5(content, damaged, f"{expected} in HDF5 or .keras") as file:
            inner = child(file, "model_weights", where)
            root = file if inner is None else inner  # a whole saved model has a group for its weights
            if not isinstance(root, h5py.Group):
                raise InputError(f"{where}: found a dataset at model_weights, expected a group of layers")
            found = _legacy(root, where) if _has(root, "layer_names") else _numbered(root, names, where)
    if not found.layers:
        raise InputError(f"{flag}{path}: found no layer with weights, expected {expected}")
    return found


def _legacy(root: Any, where: str) -> KerasWeights:
    """The layers of the legacy layout, those of nested models by their own names."""
    layers: Layers = {}
    for group in _texts(root, "layer_names", where):
        held = child(root, group, where)
        if not isinstance(held, h5py.Group):
            raise InputError(
                f"{where}: found {'nothing' if held is None else 'a dataset'} at {group}, expected a layer"
            )
        names = _texts(held, "weight_names", where)
        # Of a nested model's variables the layer stands before the last slash, after the models that it lies in.
        # Keras 1 wrote no slash, and a layer that was built twice may have a number there that its group has not.
        nested = len({name.rpartition("/")[0] for name in names}) > 1
        own: Layers = {}
        for name in names:
            path, _, variable = name.rpartition("/")
            layer = f"/{path}".rpartition(f"/{group}/")[2].lstrip("/") if nested else group
            _put(own, layer, _variable(variable, layer), child(held, name, where), where)
        layers |= {f"{group}/{layer}" if layer in layers else layer: held for layer, held in own.items()}
    return KerasWeights({layer: _depthwise(held) for layer, held in layers.items()}, True)


def _numbered(root: Any, names: Mapping[str, str] | None, where: str) -> KerasWeights:
    """The layers of Keras 3's layout; `names` is the layer's name by the key of its group, where a config tells it."""
    groups = sorted(_groups(root, where), key=lambda pair: [_number(part) for part in pair[0].split("/")])
    order = list((names or {}).values())
    names = {key: str(group.attrs["name"]) for key, group in groups if group.attrs.get("name")} or names or {}
    layers: Layers = {}
    for key, group in groups:
        for index, variable in enumerate(_variables(_kind(key), len(group))):
            _put(layers, names.get(key, key), variable, child(group, str(index), where), where)
    place = {name: number for number, name in enumerate(order)}
    layers = dict(sorted(layers.items(), key=lambda pair: place.get(pair[0], len(place))))
    return KerasWeights(layers, bool(names))


def _groups(group: Any, where: str, prefix: str = "", seen: frozenset = frozenset()) -> Iterator[tuple[str, Any]]:
    """Every group of variables below one, by its path without the names of containers: conv2d_1, functional/conv2d."""
    for name in group:
        inner = child(group, name, where)
        if not isinstance(inner, h5py.Group) or name in ("optimizer", "vars"):
            continue
        if inner.id in seen or len(seen) > _DEEPEST:
            raise InputError(f"{where}: {inner.name} holds itself or lies too deep, expected layers in a few groups")
        key = prefix if name in _CONTAINERS else f"{prefix}/{name}".lstrip("/")
        variables = child(inner, "vars", where)
        if name not in _CONTAINERS and isinstance(variables, h5py.Group) and len(variables):
            yield key, variables
        yield from _groups(inner, where, key, seen | {inner.id})


def _names(config: Any, prefix: str = "") -> dict[str, str]:
    """The layers' names by the keys of their groups, from an archive's config, in the order of the model."""
    counts, names = collections.Counter(), {}
    for layer in config.get("config", {}).get("layers", ()):  # of a model of one's own class the config says nothing
        kind = _snake(layer["class_name"])
        key = prefix + (f"{kind}_{counts[kind]}" if counts[kind] else kind)
        counts[kind] += 1
        names[key] = layer["config"]["name"]
        if "layers" in layer["config"]:
            names |= _names(layer, f"{key}/")
    return names


def _snake(name: str) -> str:
    """Keras's name of a group for a class: Conv2D is conv2d, BatchNormalization batch_normalization."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _number(part: str) -> tuple[str, int]:
    """Kind and number of a group's name, for sorting: conv2d_2 before conv2d_10."""
    kind, separator, number = part.rpartition("_")
    return (kind, int(number)) if separator and number.isdecimal() else (part, 0)


def _kind(key: str) -> str:
    return _number(key.rpartition("/")[2])[0]


def _variables(kind: str, count: int) -> Sequence[str]:
    """The names of a layer's numbered variables."""
    if kind == "batch_normalization" and count in (2, 3, 4):
        return _NORMALISED[4 - count :]
    known = _VARIABLES.get(kind, ())
    return known[:count] if count <= len(known) else [str(index) for index in range(count)]


def _variable(name: str, layer: str) -> str:
    """A variable's name from one of a legacy file: kernel:0, block1_conv1_W_1:0 of Keras 1."""
    name = name.split(":")[0]
    if name.startswith(f"{layer}_"):
        name = re.sub(r"_\d+$", "", name.removeprefix(f"{layer}_"))
    return _FORMER.get(name, name)


def _depthwise(held: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A depthwise convolution's kernel under the name that Keras 3 gives it."""
    if "depthwise_kernel" in held and "pointwise_kernel" not in held:
        return {name.removeprefix("depthwise_"): array for name, array in held.items()}
    return held


def _put(layers: Layers, layer: str, variable: str, stored: Any, where: str) -> None:
    held = layers.setdefault(layer, {})
    if stored is None:
        raise ValueError(f"layer {layer} has no {variable}, which the file names")
    if variable in held:
        raise InputError(f"{where}: layer {layer} has {variable} twice, expected each variable once")
    array = read_numbers(stored, where, "weights_array")
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:  # HDF5 has no bfloat16
        import ml_dtypes

        array = array.view(ml_dtypes.bfloat16)
    held[variable] = array


def _has(group: Any, name: str) -> bool:
    return name in group.attrs or f"{name}0" in group.attrs


def _texts(group: Any, name: str, where: str) -> list[str]:
    """An attribute of texts, which Keras cuts into several, name0, name1, ..., where it is long."""
    if name in group.attrs:
        return texts(group, name, where)
    parts = [f"{name}{index}" for index in range(len(group.attrs)) if f"{name}{index}" in group.attrs]
    return [text for part in parts for text in texts(group, part, where)]
