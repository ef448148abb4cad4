"""A run's weights for other libraries: a PyTorch state dict with its module, and Keras's layout of VGG16."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import write_whole
from btjax.models.vgg16 import CONVOLUTIONS
from btjax.prediction.torch_modules import CHAIN, COMMON, UNET
from btjax.weights.exchange import torch_state, write_keras

if TYPE_CHECKING:
    import pathlib

    from btjax.runs.run import Run

TORCH, KERAS, KERAS_HEAD = "model_torch.safetensors", "vgg16_notop.h5", "vgg16_head.h5"

_CHAINS, _UNETS = ("cnn", "vgg16"), ("unet", "encoder_classifier")


def told(about: dict[str, Any]) -> dict[str, str]:
    """Metadata as texts, for files that keep nothing else."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}


def require_plain(run: Run, form: str) -> None:
    """Checks that a run's network has a counterpart in another library.

    Args:
      run: a finished one.
      form: torch or keras.

    Raises:
      InputError: it has none, or a package is missing.
    """
    known = (*_CHAINS, *_UNETS) if form == "torch" else ("vgg16",)
    if run.config.system not in known:
        raise InputError(
            f"--to={form}: {run.folder} is a run of {run.config.system}, expected one of {', '.join(known)}"
        )
    if form == "torch":
        require_package("safetensors", form, "btjax[export]")


def require_package(package: str, form: str, what: str) -> None:
    """Raises InputError where a package that a form needs is missing; `what` is for pip."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"--to={form}: needs {package}: pip install {what}")


def torch_plan(run: Run) -> dict[str, Any]:
    """How the layers of a run's network follow each other: what model_torch.py is built from, as JSON values."""
    model, names = run.model, list(run.variables["params"])
    if run.config.system in _UNETS:
        numbered = sorted(names, key=lambda name: int(name.rpartition("_")[2]) if name[-1].isdigit() else 0)
        down = [name for name in numbered if "down_" in name]
        return {"down": down, "up": [name for name in numbered if name.startswith("up_")]}
    layers = list(model.layers)
    convolutions = [name for name in layers if "conv" in name]
    pooled = [name for name, after in itertools.pairwise(layers) if name in convolutions and "pool" in after]
    return {
        "convolutions": convolutions,
        "pooled": pooled,
        "padding": getattr(model, "padding", "same"),
        "pooling": "average" if "average" in layers else "flatten",
        "dense": [name for name in layers if name in names and name not in convolutions],
    }


def save_tensors(path: pathlib.Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> pathlib.Path:
    """Writes arrays and metadata as safetensors; gives the path.

    The library writes the metadata in any order and for its owner alone: here the same content is the same file, and
    whoever may read the folder may read it.
    """
    save_file = importlib.import_module("safetensors.numpy").save_file

    def write(beside: pathlib.Path) -> None:
        save_file(arrays, str(beside), told(about))
        content = beside.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        head = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        beside.write_bytes(len(head).to_bytes(8, "little") + head + content[end:])
        beside.chmod(0o644)

    write_whole(path, write)
    return path


def write_torch(run: Run, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    """Writes the state dict as safetensors, and model_torch.py with its module."""
    system = run.config.system
    state = torch_state(run.variables, _flattened(run), ("up_", "last") if system == "unet" else ())
    text = COMMON + (UNET if system in _UNETS else CHAIN)
    write_whole(folder / "model_torch.py", lambda beside: beside.write_text(text, encoding="utf-8"))
    return save_tensors(folder / TORCH, state, about)


def _flattened(run: Run) -> dict[str, tuple[int, int, int]]:
    """The dense layer above `flatten`, and the map below it: rows, columns, channels."""
    layers: list[str] = list(getattr(run.model, "layers", ()))
    if "flatten" not in layers:
        return {}
    place, size = layers.index("flatten"), run.config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size), np.uint8)

    def below(variables: Any, images: Any) -> Any:
        return run.model.apply(variables, run.config.preprocessing(images), stop=layers[place - 1])

    _, rows, columns, channels = jax.eval_shape(below, run.variables, images).shape
    return {layers[place + 1]: (rows, columns, channels)}


def write_keras_vgg16(run: Run, folder: pathlib.Path, about: dict[str, Any]) -> pathlib.Path:
    """Writes the convolutions as Keras's file without top has them, and the dense layers in a file beside it."""
    params = {layer: dict(held) for layer, held in run.variables["params"].items()}
    base = {layer: params[layer] for layer in CONVOLUTIONS}
    head = {layer: params[layer] for layer in run.model.layers if layer in params and layer not in CONVOLUTIONS}
    for name, layers in ((KERAS, base), (KERAS_HEAD, head)):
        held = {layer: {leaf: np.asarray(one[leaf]) for leaf in ("kernel", "bias")} for layer, one in layers.items()}
        write_whole(folder / name, lambda beside, held=held: write_keras(beside, held, told(about)))
    return folder / KERAS
