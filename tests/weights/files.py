"""VGG16 weight files in every layout, with random numbers in them."""

import pathlib

import h5py
import numpy as np

from btjax.weights import vgg16


def random_leaves(seed: int = 0) -> dict[str, np.ndarray]:
    """Random leaves of the base by name, scaled so that activations neither vanish nor explode."""
    random = np.random.default_rng(seed)

    def leaf(shape):
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1
        return (scale * random.standard_normal(shape)).astype(np.float32)

    return {name: leaf(shape) for name, shape in vgg16.expected_shapes(top=False).items()}


def write_legacy(path: pathlib.Path, leaves: dict[str, np.ndarray], inside: str | None = None) -> pathlib.Path:
    """Keras's legacy layout, with the published file's names; `inside` a group, as in a whole saved model."""
    layers = list(dict.fromkeys(name.split("/")[0] for name in leaves))
    with h5py.File(path, "w") as file:
        root = file if inside is None else file.create_group(inside)
        root.attrs["layer_names"] = [layer.encode() for layer in ["input_1", *layers]]
        root.create_group("input_1").attrs["weight_names"] = []
        for layer in layers:
            group, names = root.create_group(layer), []
            for name in [name for name in leaves if name.startswith(f"{layer}/")]:
                suffix = {"kernel": "W", "bias": "b"}.get(name.split("/")[1], name.split("/")[1])
                names.append(f"{layer}_{suffix}_1:0".encode() if suffix in "Wb" else f"{layer}/{suffix}:0".encode())
                group[names[-1].decode()] = leaves[name]
            group.attrs["weight_names"] = names
    return path


def write_keras3(path: pathlib.Path, leaves: dict[str, np.ndarray]) -> pathlib.Path:
    """Keras 3's `.weights.h5`: groups by kind of layer, numbered in order, each with its layer's name."""
    with h5py.File(path, "w") as file:
        for index, layer in enumerate(dict.fromkeys(name.split("/")[0] for name in leaves)):
            group = file.create_group(f"layers/conv2d{f'_{index}' if index else ''}/vars")
            group.attrs["name"] = layer
            for place, leaf in enumerate(("kernel", "bias")):
                group[str(place)] = leaves[f"{layer}/{leaf}"]
        file.create_group("layers/input_layer/vars").attrs["name"] = "input_layer"
    return path


def torchvision_state(leaves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same numbers under torchvision's names and in its layouts."""
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    layers = list(dict.fromkeys(name.split("/")[0] for name in leaves))
    state = {}
    for layer, place in zip(layers, places, strict=True):
        state[f"features.{place}.weight"] = np.ascontiguousarray(leaves[f"{layer}/kernel"].transpose(3, 2, 0, 1))
        state[f"features.{place}.bias"] = leaves[f"{layer}/bias"]
    return state
