"""Converts published VGG16 weights into a checkpoint: `scripts/convert_vgg16 FILE FOLDER`.

FILE is Keras's HDF5 (with or without the top, legacy or Keras 3) or torchvision's vgg16 (.safetensors, .pth; these need
the extra `convert`). FOLDER then takes the file's place in --weights; the scale that the weights need (--scale=caffe or
torch) travels with them.
"""

import argparse
import importlib
import pathlib

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.files import check_writable, expanded, strangers
from btjax.weights import vgg16
from experiments.console import fail_in_one_line


def read(path: pathlib.Path) -> vgg16.Weights:
    """The weights in a file of any accepted kind; InputError where it is none."""
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        return vgg16.load(path)
    if not path.is_file():
        raise InputError(f"{path}: not found, expected torchvision's vgg16 weights")
    needed = "safetensors" if path.suffix == ".safetensors" else "torch"
    with foreign(f"{path}: reading it needs {needed}", "that package: pip install 'btjax[convert]'"):
        importlib.import_module(needed)
    with foreign(str(path), "a file of PyTorch tensors"):
        if needed == "safetensors":
            from safetensors.numpy import load_file  # pyright: ignore[reportMissingImports], an extra

            state = load_file(path)
        else:
            import torch  # pyright: ignore[reportMissingImports], an extra

            # Nothing but tensors is unpickled.
            state = {name: np.asarray(leaf) for name, leaf in torch.load(path, "cpu", weights_only=True).items()}
    return vgg16.from_torchvision(state, str(path))


def main() -> None:
    """Parses the arguments, converts, saves."""
    parser = argparse.ArgumentParser(
        prog="scripts/convert_vgg16", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=expanded)
    parser.add_argument("folder", type=expanded)
    arguments = parser.parse_args()
    weights = read(arguments.file)
    check_writable(arguments.folder)
    if others := strangers(arguments.folder):
        raise InputError(f"{arguments.folder}: not empty (found {others[0].name}), expected a new folder")
    vgg16.save(weights, arguments.folder)
    print(f"{len(weights.params)} layers, --scale={weights.scale}: {arguments.folder}")


if __name__ == "__main__":
    fail_in_one_line("convert_vgg16", main)
