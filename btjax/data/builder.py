"""Slices prepared once with TensorFlow Datasets (array_record, without TensorFlow) and read back in seconds."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from btjax.base.errors import InputError
from btjax.base.files import cache_folder, only_process, readable_errors
from btjax.base.progress import ProgressCallback
from btjax.data import download
from btjax.data.raw import RawSlice, SlicesBuffer, Source, check_image_size, prepare, text_fields
from btjax.data.slices import CLASSES, Slices
from btjax.data.sources import find_source

READER_VERSION = "1.0.0"
"""Part of the cache's path: raise it when a reader or `btjax.data.raw` gives other bytes than before."""

SPLIT = "slices"
_SHARD_BYTES = 64 << 20


class BrainTumours(tfds.core.ShardBasedBuilder):
    """The slices of a source at one size, in the order of their ids, as one split named "slices".

    Each record holds `image` uint8 [S, S], `label`, `id`, `size` (height and width before resizing) and whichever of
    `patient`, `mask` (bits packed along rows), `fold`, `plane` the source knows. Shards are written one after another:
    TFDS's `GeneratorBasedBuilder` would hold all records in memory, and beyond 1 GB needs TensorFlow.
    """

    VERSION = tfds.core.Version(READER_VERSION)

    url_infos: ClassVar[dict] = {}
    """No downloads by TFDS; its own way to find its checksums imports a package that it does not depend on."""

    def __init__(
        self, *, source: Source, image_size: int, data_dir: str | os.PathLike, progress: ProgressCallback | None = None
    ):
        """Makes the builder of `source` at `image_size`; nothing is read until `download_and_prepare`."""
        self.source = source
        self.image_size = check_image_size(image_size)
        self.progress = progress
        config = tfds.core.BuilderConfig(name=f"{image_size}px_{source.fingerprint[:24]}")
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features
        side, known = self.image_size, self.source.known
        fields = {
            "image": features.Tensor(shape=(side, side), dtype=np.uint8, encoding="bytes"),
            "label": features.ClassLabel(names=CLASSES),
            "id": features.Text(),
            "size": features.Tensor(shape=(2,), dtype=np.int32),
            "mask": features.Tensor(shape=(side, (side + 7) // 8), dtype=np.uint8, encoding="zlib"),
            "patient": features.Text(),
            "fold": features.Scalar(dtype=np.int32),
            "plane": features.Text(),
        }
        always = ("image", "label", "id", "size")
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Brain tumours in MRI slices, from {self.source.description}.",
            homepage="https://doi.org/10.6084/m9.figshare.1512427",
            features=features.FeaturesDict({name: f for name, f in fields.items() if name in always or name in known}),
        )

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable[[], Iterator]]]:
        del dl_manager
        rows, total = max(1, _SHARD_BYTES // self.image_size**2), len(self.source)
        return {SPLIT: [self._shard(first, min(first + rows, total)) for first in range(0, total, rows)]}

    def _shard(self, first: int, last: int) -> Callable[[], Iterator]:
        """A function that yields (row, record) of the rows first to last - 1."""

        def examples():
            for row, example in enumerate(self.source.read(self._example, first, last), start=first):
                yield row, example
                if self.progress is not None:
                    self.progress("prepare", row + 1, len(self.source))

        return examples

    def _example(self, raw: RawSlice) -> dict:
        image, mask = prepare(raw, self.image_size)
        example = {"image": image, "label": raw.label, "size": np.array(raw.image.shape, np.int32)}
        if mask is not None:
            example["mask"] = np.packbits(mask, axis=-1)
        example.update((name, value) for name, value in text_fields(raw).items() if value is not None)
        return example

    def _log_download_bytes(self) -> None:
        """Silences what TFDS prints before preparing: the library does not print."""

    def _log_download_done(self) -> None:
        """Silences what TFDS prints after preparing."""


def load(
    data_dir: str | os.PathLike | Source | None,
    image_size: int,
    cache_dir: str | os.PathLike | None = None,
    progress: ProgressCallback | None = None,
) -> Slices:
    """Loads a data folder in any accepted form at `image_size`.

    The first load decodes every file and keeps the result in `cache_dir`; later ones read that back. The kept copy
    belongs to the files' names, sizes and modification times, to image_size and to `READER_VERSION`, so a changed
    folder is read anew. A preparation that is killed leaves nothing that a later load would take for data, and two
    processes that need the same copy prepare it once.

    Args:
      data_dir: the folder, see `btjax.data.sources.find_source`, or the source that it found there. None
        stands for the published data, which are downloaded to `cache_dir` once (880 MB).
      image_size: S, side of the images in pixels.
      cache_dir: where prepared copies are kept; by default $BTJAX_CACHE, or ~/.cache/btjax.
      progress: called as `progress(what, done, total)`.

    Returns:
      `Slices` of uint8 [N, S, S], sorted by id.

    Raises:
      InputError: the folder or a file in it is not usable, or the cache cannot be written.
    """
    cache = cache_folder(cache_dir)
    if data_dir is None:
        data_dir = cache / "figshare"
        download.download_figshare(data_dir, progress=progress, trust_present=True)
    source = data_dir if isinstance(data_dir, Source) else find_source(data_dir)
    check_image_size(image_size)
    with readable_errors(cache), _quiet_absl():
        cache.mkdir(parents=True, exist_ok=True)
        builder = BrainTumours(source=source, image_size=image_size, data_dir=cache, progress=progress)
        if not builder.is_prepared():
            with only_process(cache / f"{builder.builder_config.name}.lock"):
                _prepare(builder)
        return _read_back(builder, progress)


def _prepare(builder: BrainTumours) -> None:
    """Prepares the copy unless another process has just done so, and clears what a killed process left."""
    place = builder.data_path
    for left_over in place.parent.glob("incomplete.*") if place.parent.is_dir() else ():
        shutil.rmtree(left_over)
    if not builder.is_prepared():
        # TFDS writes into a folder "incomplete.*" and renames it at the end.
        builder.download_and_prepare()


def _read_back(builder: BrainTumours, progress: ProgressCallback | None) -> Slices:
    """Reads the records of a prepared builder into arrays."""
    side, known, total = builder.image_size, builder.source.known, len(builder.source)
    buffer = SlicesBuffer(total, side, known)
    try:
        # The info was read at construction, which may have been before another process prepared the copy.
        builder.info.read_from_directory(builder.data_dir)
        records = builder.as_data_source(split=SPLIT)
        if len(records) != total:
            raise ValueError(f"{len(records)} records instead of {total}")
        for row in range(total):
            record = records[row]
            mask = np.unpackbits(record["mask"], axis=-1, count=side) if "mask" in known else None
            text = {name: _as_text(record.get(name)) for name in ("id", "patient", "fold", "plane")}
            buffer.put(row, record["image"], mask, record["label"], record["size"], **text)
            if progress is not None:
                progress("read", row + 1, total)
    except (RuntimeError, ValueError, KeyError, IndexError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{builder.data_dir}: this prepared copy is damaged ({reason}), delete it") from error
    return buffer.slices()


def _as_text(value):
    """TFDS gives text as bytes; numbers pass."""
    return value.decode() if isinstance(value, bytes) else value


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Hides absl's warnings: TFDS warns of each configuration that is made at run time, which all of ours are."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
