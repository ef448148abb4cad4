"""Converts published VGG16 weights into a checkpoint: `scripts/convert_vgg16 FILE FOLDER`.

FILE is Keras's HDF5 (with or without the top, legacy or Keras 3) or torchvision's vgg16 (.safetensors, .pth; these need
the extra `convert`). FOLDER then takes the file's place in --weights; the scale that the weights need (--scale=caffe or
torch) travels with them.
"""

import argparse
import pathlib

from btjax.base.errors import InputError
from btjax.base.files import check_writable, expanded, strangers
from btjax.weights import vgg16
from btjax.weights.torch_files import SUFFIXES, read_torch
from experiments.console import fail_in_one_line


def read(path: pathlib.Path) -> vgg16.Weights:
    """The weights in a file of any accepted kind; InputError where it is none."""
    if path.suffix not in SUFFIXES:
        return vgg16.load(path)
    if not path.is_file():
        raise InputError(f"{path}: not found, expected torchvision's vgg16 weights")
    return vgg16.from_torchvision(read_torch(path, str(path)), str(path))


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
