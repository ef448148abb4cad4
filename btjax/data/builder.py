"""Loading slices: prepared once, then read back in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from btjax.base.files import cache_folder, make_cache
from btjax.base.memory import machine_memory
from btjax.data import download
from btjax.data.sources import find_source
from btjax.readers.medical import MedicalOptions
from btjax.readers.raw import Source, check_image_size, check_intensity_range

if TYPE_CHECKING:
    import os

    from btjax.base.progress import ProgressCallback
    from btjax.readers.slices import Slices


def load(
    data_dir: str | os.PathLike | Source | None,
    image_size: int,
    cache_dir: str | os.PathLike | None = None,
    progress: ProgressCallback | None = None,
    *,
    intensity_range: str = "minmax",
    head_mask: bool = False,
    stream: bool | None = False,
) -> Slices:
    """Loads a data folder in any accepted form at `image_size`.

    The first load decodes every file and keeps the result in `cache_dir`; later ones read that copy. It belongs to the
    files' names and contents, the classes, image_size, the options below and the readers' version, so a changed folder
    is read again. A preparation that is killed leaves nothing that a later load would take for data, and two processes
    that need the same copy prepare it once.

    Args:
      data_dir: the folder, see `btjax.data.sources.find_source`, or the source that it found there. None
        is the published data set, which is downloaded to `cache_dir` once (880 MB).
      image_size: S, side of the images in pixels, 1 to 4096.
      cache_dir: where prepared copies are kept; by default $BTJAX_CACHE, or ~/.cache/btjax.
      progress: called as `progress(what, done, total)`.
      intensity_range: what becomes 0 and 255 of each slice: minmax (its minimum and maximum) or percentile (its 1st and
        99th percentile, background included); see `btjax.readers.raw.scale_to_uint8`. A model takes slices as those
        that it was trained on: `run.config.data` says which.
      head_mask: whether what is outside the head is black; see `btjax.readers.head.head_mask`.
      stream: whether images and masks stay in the prepared copy, and are read from it when they are asked for
        (`btjax.base.rows.LazyRows`); None where training would take more than half of the memory for them.

    Returns:
      `Slices` of uint8 [N, S, S], sorted by id; `labels` is None where the source has none.

    Raises:
      InputError: the folder or a file in it is not usable, or the cache cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> from PIL import Image
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name in ("glioma", "no_tumor"):
      ...     (folder / "slices" / name).mkdir(parents=True)
      ...     Image.linear_gradient("L").save(folder / "slices" / name / f"{name}_1.png")
      >>> slices = load(folder / "slices", image_size=32, cache_dir=folder / "cache")
      >>> slices.images.shape, slices.classes, slices.labels.tolist()
      ((2, 32, 32), ('glioma', 'no_tumor'), [0, 1])
    """
    cache = cache_folder(cache_dir)
    if data_dir is None:
        data_dir = cache / "figshare"
        download.download_figshare(data_dir, progress=progress, trust_present=True)
    options = MedicalOptions(cache_dir=cache_dir)
    source = data_dir if isinstance(data_dir, Source) else find_source(data_dir, options=options)
    check_image_size(image_size)
    check_intensity_range(intensity_range)
    make_cache(cache)
    # TensorFlow Datasets takes seconds to import.
    from btjax.data.prepared import read_prepared

    prepared: dict[str, Any] = {"intensity_range": intensity_range, "head_mask": head_mask}
    stream = is_large(source, image_size) if stream is None else stream
    return read_prepared(source, image_size, cache, progress, stream=stream, **prepared)


def is_large(source: Source, image_size: int) -> bool:
    """Whether the slices of a source, with their masks, would take more than half of the memory.

    Training on a CPU holds the images twice: as they were read, and as JAX's array; masks lie there as bits.
    """
    arrays = (2 if jax.default_backend() == "cpu" else 1) + ("mask" in source.known)
    return arrays * len(source) * image_size**2 > machine_memory() / 2
