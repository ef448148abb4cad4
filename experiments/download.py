"""Downloads published files: `scripts/download figshare|vgg16|... --data_dir DIR`.

An interrupted download goes on where it stopped when the command is given again; files are checked by their hash.
"""

import argparse

from btjax.base.bars import DataBars
from btjax.base.files import expanded
from btjax.data import download
from btjax.weights import vgg16
from btjax.weights.official import OFFICIAL
from experiments.console import fail_in_one_line

SETS = {
    "figshare": (download.FIGSHARE, "the brain tumour data set, 880 MB in five files (CC BY 4.0)"),
    "vgg16": ((vgg16.OFFICIAL,), "ImageNet's VGG16 without its top, 59 MB, Keras's file (CC BY 4.0)"),
} | {name: ((file,), f"ImageNet's {name} without its top, Keras's file") for name, file in OFFICIAL.items()}


def main() -> None:
    """Parses the arguments and downloads."""
    parser = argparse.ArgumentParser(
        prog="scripts/download", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True)
    for name, (_, text) in SETS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--data_dir", required=True, type=expanded, help="folder to download into")
    args = parser.parse_args()
    bars = DataBars("B")
    try:
        paths = download.fetch_all(SETS[args.name][0], args.data_dir, progress=bars)
    finally:
        bars.close()
    print(f"{len(paths)} files in {args.data_dir}")


if __name__ == "__main__":
    fail_in_one_line("download", main)
