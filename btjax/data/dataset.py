"""Which slices a run uses: those of a folder in any known form, or synthetic ones."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.data.builder import load
from btjax.data.notes import slices_notes
from btjax.data.phantom import make_phantom
from btjax.data.sources import find_source
from btjax.data.splits import PROTOCOLS
from btjax.readers.medical import WINDOWS, MedicalOptions
from btjax.readers.orientation import PLANES
from btjax.readers.raw import INTENSITY_RANGES, scale_slice
from btjax.readers.slices import Slices

if TYPE_CHECKING:
    from btjax.base.progress import ProgressCallback

PHANTOM = "phantom"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which slices, at what size, and how they are split."""

    data_dir: str = option("", "folder of slices in any form that btjax reads, or `phantom` for synthetic heads")
    image_size: int = option(512, "side in pixels to which every slice is resized", minimum=32, maximum=4096)
    intensity_range: str = option(
        "minmax",
        "levels of each slice that become 0 and 255: minmax (its minimum and maximum), or percentile (its 1st and 99th "
        "percentile, background included; what is beyond is clipped)",
        choices=INTENSITY_RANGES,
    )
    head_mask: bool = option(False, "black out everything outside the head, which is found in each slice's pixels")
    protocol: str = option(
        "slice",
        "what the split keeps on one side: slice (only the slice itself, the paper's way), patient, family (ids that "
        "differ in a letter), linked (slices that belong together by their pixels), official (the data set authors' "
        "folds), or given (the data set's own division, such as Training/ and Testing/)",
        choices=PROTOCOLS,
    )
    fold: int = option(0, "the fold that is held out, 0 to folds - 1", minimum=0)
    folds: int = option(5, "number of folds", minimum=2, maximum=10_000)
    split_seed: int = option(-1, "seed of the split; -1 takes the run's seed", minimum=-1, maximum=2**32 - 1)
    train_slices: int = option(
        0, "train on so many of the training slices, the classes in their shares; 0 takes all", minimum=0
    )
    refit: bool = option(
        False, "train on the validation slices too; needs --select=last_epoch, since none are left to choose on"
    )
    plane: str = option("axial", "plane along which NIfTI volumes are cut into slices", choices=PLANES)
    window: str = option(
        "stored",
        "pixels of DICOM files: stored (as they are), or file (clipped to the window that each file names)",
        choices=WINDOWS,
    )
    phantom_patients: int = option(
        40, "synthetic patients of each class, where data_dir is `phantom`", minimum=1, maximum=100_000
    )
    phantom_slices: int = option(6, "slices of each synthetic patient", minimum=1, maximum=1000)
    phantom_seed: int = option(0, "seed of the synthetic heads", minimum=0, maximum=2**32 - 1)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Slices with what people should know of them.

    Attributes:
      slices: the slices.
      form: the form that they were found in, in words.
      notes: what was ignored or changed when they were read, and what does not agree; a line for each.
    """

    slices: Slices
    form: str
    notes: tuple[str, ...] = ()


def load_data(
    config: DataConfig,
    cache_dir: str | None = None,
    progress: ProgressCallback | None = None,
    *,
    stream: bool | None = False,
) -> DataSet:
    """The slices of a config.

    Args:
      config: the options.
      cache_dir: where prepared slices are kept; see `btjax.data.builder.load`.
      progress: see `btjax.data.builder.load`.
      stream: see `btjax.data.builder.load`.

    Raises:
      InputError: data_dir is missing, or cannot be read; synthetic heads that should be streamed.
    """
    if not config.data_dir:
        raise InputError("--data_dir is missing: expected a folder of slices, or `phantom` for synthetic heads")
    if config.data_dir == PHANTOM and stream:
        raise InputError("--stream: synthetic heads are made in memory, expected the folder of a data set")
    if config.data_dir == PHANTOM:
        heads = make_phantom(config.phantom_patients, config.phantom_slices, config.image_size, config.phantom_seed)
        return DataSet(_with_options(heads, config), "synthetic heads (phantom)")
    source = find_source(config.data_dir, options=MedicalOptions(config.plane, config.window, cache_dir))
    options: dict[str, Any] = {"intensity_range": config.intensity_range, "head_mask": config.head_mask}
    slices = load(source, config.image_size, cache_dir, progress, stream=stream, **options)
    return DataSet(slices, source.description, source.notes + slices_notes(slices))


def _with_options(slices: Slices, config: DataConfig) -> Slices:
    """Slices that are made at their final size, under the config's options for preparing."""
    if config.intensity_range == "minmax" and not config.head_mask:
        return slices
    images = [scale_slice(image, "phantom", config.intensity_range, config.head_mask) for image in slices.images]
    return dataclasses.replace(slices, images=np.stack(images))
