"""PyTorch's files of tensors, read into arrays; the packages that this needs are extras."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import foreign

if TYPE_CHECKING:
    import pathlib

SUFFIXES = (".pth", ".pt", ".safetensors")
"""Of the files that `read_torch` reads."""


def read_torch(path: pathlib.Path, where: str) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name.

    Args:
      path: an existing file, of one of `SUFFIXES`.
      where: names it in an error.

    Raises:
      InputError: the package that reads it is not there, or the file is of another kind.
    """
    needed = "safetensors" if path.suffix == ".safetensors" else "torch"
    with foreign(f"{where}: reading it needs {needed}", "that package: pip install 'btjax[convert]'"):
        importlib.import_module(needed)
    with foreign(where, "a file of PyTorch tensors"):
        if needed == "safetensors":
            from safetensors.numpy import load_file  # pyright: ignore[reportMissingImports], an extra

            return load_file(path)
        import torch  # pyright: ignore[reportMissingImports], an extra

        # Nothing but tensors is unpickled.
        return {name: np.asarray(leaf) for name, leaf in torch.load(path, "cpu", weights_only=True).items()}
