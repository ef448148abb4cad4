"""Which slices a run uses: from a folder in any known form, or the phantom data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.data.builder import load
from btjax.data.phantom import make_phantom
from btjax.data.slices import Slices
from btjax.data.sources import find_source
from btjax.data.splits import PROTOCOLS

PHANTOM = "phantom"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which slices, at what size, divided by which protocol."""

    data_dir: str = option("", "folder of slices in any form that btjax reads, or `phantom` for synthetic heads")
    image_size: int = option(512, "side in pixels to which every slice is resized", minimum=32, maximum=4096)
    protocol: str = option(
        "slice",
        "who stands apart in the split: slice (nobody, the paper's), patient, family or official (authors' folds)",
        choices=PROTOCOLS,
    )
    fold: int = option(0, "the fold that is held out, 0 to folds - 1", minimum=0)
    folds: int = option(5, "number of folds", minimum=2)
    phantom_patients: int = option(40, "synthetic patients of each class, where data_dir is `phantom`", minimum=1)
    phantom_slices: int = option(6, "slices of each synthetic patient", minimum=1)
    phantom_seed: int = option(0, "seed of the synthetic heads", minimum=0)


def load_data(config: DataConfig, cache_dir: str | None = None, progress: Callable | None = None) -> tuple[Slices, str]:
    """The slices of a config, and their form in words.

    Args:
      config: the options.
      cache_dir: where prepared slices are kept; see `btjax.data.builder.load`.
      progress: see `btjax.data.builder.load`.

    Raises:
      InputError: a missing or unreadable data_dir.
    """
    if not config.data_dir:
        raise InputError("--data_dir is missing: expected a folder of slices, or `phantom` for synthetic heads")
    if config.data_dir == PHANTOM:
        heads = make_phantom(config.phantom_patients, config.phantom_slices, config.image_size, config.phantom_seed)
        return heads, "synthetic heads (phantom)"
    source = find_source(config.data_dir)
    return load(source, config.image_size, cache_dir, progress), source.description
