"""Converts published VGG16 weights into a checkpoint: `scripts/convert_vgg16 FILE FOLDER`.

FILE is Keras's HDF5 (with or without the top, legacy or Keras 3) or torchvision's vgg16 (.safetensors, .pth; these need
the extra `convert`). FOLDER then takes the file's place in --weights; the scale that the weights need (--scale=caffe or
torch) travels with them.
"""

import argparse
import pathlib
import sys

import numpy as np

from btjax.base.errors import InputError
from btjax.weights import vgg16


def read(path: pathlib.Path) -> vgg16.Weights:
    """The weights in a file of any accepted kind; InputError where it is none."""
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        return vgg16.load(path)
    if not path.is_file():
        raise InputError(f"{path}: not found, expected torchvision's vgg16 weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file  # pyright: ignore[reportMissingImports], an extra

            state = load_file(path)
        else:
            import torch  # pyright: ignore[reportMissingImports], an extra

            # Nothing but tensors is unpickled.
            state = {name: np.asarray(leaf) for name, leaf in torch.load(path, "cpu", weights_only=True).items()}
    except ImportError as error:
        raise InputError(f"{path}: reading it needs {error.name}: pip install 'btjax[convert]'") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: not a file of PyTorch tensors ({reason})") from error
    return vgg16.from_torchvision(state, str(path))


def main() -> int:
    """Parses the arguments, converts, saves."""
    parser = argparse.ArgumentParser(
        prog="scripts/convert_vgg16", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        weights = read(arguments.file)
        if arguments.folder.exists() and any(arguments.folder.iterdir()):
            raise InputError(f"{arguments.folder}: not empty, expected a new folder")
        vgg16.save(weights, arguments.folder)
    except (InputError, OSError) as error:
        print(f"convert_vgg16: {error}", file=sys.stderr)
        return 2
    print(f"{len(weights.params)} layers, --scale={weights.scale}: {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
