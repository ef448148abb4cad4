"""btjax's variables in the layouts of PyTorch and Keras, for networks that are plain chains of their layers.

What changes on the way to PyTorch: kernels have their output axes first; images have their channels first, so the rows
of a dense kernel that follows a flattened map stand in another order; a transposed convolution's kernel is turned by
half a turn. Names are btjax's, joined by dots: `conv_1.weight`, `down_1.batch_norm.running_var`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.hdf5 import create_hdf5

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

_NORMS = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def torch_state(
    variables: Mapping[str, Any], flattened: Mapping[str, tuple[int, int, int]], transposed: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """The variables of a network as a PyTorch state dict.

    Args:
      variables: {"params", "batch_stats"}, nested dicts of float32 arrays in Flax's layouts.
      flattened: dense layers that follow a flattened map -> rows, columns and channels of that map.
      transposed: the beginnings of the names of stages that are transposed convolutions.

    Returns:
      name -> array: convolutions [out, in, h, w], transposed ones [in, out, h, w], dense layers [out, in], batch
      normalisation's weight, bias, running_mean, running_var and num_batches_tracked.

    Raises:
      ValueError: a leaf of a kind that has no plain counterpart.

    Example:
      >>> kernel = np.arange(8, dtype=np.float32).reshape(4, 2)
      >>> state = torch_state({"params": {"dense": {"kernel": kernel}}}, {"dense": (1, 2, 2)})
      >>> state["dense.weight"].tolist()
      [[0.0, 4.0, 2.0, 6.0], [1.0, 5.0, 3.0, 7.0]]
    """
    from flax import traverse_util

    state = {}
    leaves = traverse_util.flatten_dict({**variables.get("params", {})}, sep="/")
    statistics = traverse_util.flatten_dict({**variables.get("batch_stats", {})}, sep="/")
    for path, leaf in {**leaves, **statistics}.items():
        layer, _, name = path.rpartition("/")
        array, place = np.asarray(leaf), layer.replace("/", ".")
        if name == "kernel":
            state[f"{place}.weight"] = _kernel(array, flattened.get(layer), layer.startswith(transposed))
        elif name in _NORMS:
            state[f"{place}.{_NORMS[name]}"] = array
        else:
            raise ValueError(f"{path}: expected kernel, scale, bias, mean or var")
        if name == "var":
            state[f"{place}.num_batches_tracked"] = np.zeros((), np.int64)
    return {name: np.ascontiguousarray(array) for name, array in state.items()}


def _kernel(kernel: np.ndarray, flattened: tuple[int, int, int] | None, transposed: bool) -> np.ndarray:
    if kernel.ndim == 4:
        return kernel[::-1, ::-1].transpose(2, 3, 0, 1) if transposed else kernel.transpose(3, 2, 0, 1)
    if kernel.ndim != 2:
        raise ValueError(f"a kernel of {kernel.ndim} axes, expected a convolution's or a dense layer's")
    if flattened is not None:
        kernel = kernel.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
    return kernel.T


def write_keras(path: pathlib.Path, layers: Mapping[str, Mapping[str, np.ndarray]], about: Mapping[str, str]) -> None:
    """Writes layers in Keras's legacy HDF5 layout, which `load_weights` and `btjax.weights.keras` take.

    Args:
      path: the file, `*.h5`.
      layers: layer -> {"kernel", "bias"}, in the order of the model, in Keras's layouts, which are Flax's.
      about: texts to keep as attributes of the file.
    """
    with create_hdf5(path) as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        file.attrs["backend"], file.attrs["keras_version"] = b"jax", b"3.0.0"
        for name, text in about.items():
            file.attrs[name] = text
        for layer, held in layers.items():
            group, names = file.create_group(layer), [f"{layer}/{name}:0" for name in held]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, array in zip(names, held.values(), strict=True):
                group.create_dataset(name, data=np.asarray(array, np.float32))
