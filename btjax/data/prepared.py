"""The copy of slices that TensorFlow Datasets prepares and reads back (array_record, without TensorFlow).

This module imports TensorFlow Datasets; `btjax.data.builder` imports it when slices are loaded.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds

from btjax.base.errors import foreign, quiet_absl
from btjax.base.files import CACHE_EXPECTED, nameless_owners, only_process, read_json, sync_tree, write_json
from btjax.base.rows import rows_in_part
from btjax.data.contents import contents_fingerprint
from btjax.data.records import Records, lazy_images, lazy_masks
from btjax.readers.raw import RawSlice, SlicesBuffer, Source, check_image_size, plain_fields, prepare

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from btjax.base.progress import ProgressCallback
    from btjax.readers.slices import Slices

READER_VERSION = "1.1.0"
"""Part of the cache's path: raise it when a reader or `btjax.readers.raw` gives other bytes than before."""

SPLIT = "slices"
DESCRIPTIONS = ("dataset_info.json", "features.json")
"""The files that say what a copy's records are; the records have checksums of their own."""

CHECKSUMS = "checksums.json"
"""Beside them: their SHA-256. Copies of earlier versions have none."""

_SHARD_BYTES = 64 << 20


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Looks for nothing on Google's servers, for which TFDS would leave an empty folder in $TMPDIR each time."""


class BrainTumours(tfds.core.ShardBasedBuilder):
    """The slices of a source at one size, in the order of their ids, as one split named "slices".

    Each record holds `image` uint8 [S, S], `id`, `size` (height and width before resizing), `remarks` and whichever of
    `label`, `patient`, `mask` (bits packed along rows), `fold`, `plane`, `side` the source knows. Shards are written
    one after another: TFDS's `GeneratorBasedBuilder` would hold all records in memory, and needs TensorFlow above 1 GB.
    """

    VERSION = tfds.core.Version(READER_VERSION)

    # TFDS finds its checksums with a package that it does not depend on; nothing is downloaded here.
    url_infos: ClassVar[dict[str, Any] | None] = {}  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        *,
        source: Source,
        fingerprint: str,
        image_size: int,
        data_dir: str | os.PathLike,
        progress: ProgressCallback | None = None,
        intensity_range: str = "minmax",
        head_mask: bool = False,
    ) -> None:
        """Makes the builder of `source`, of known contents, at `image_size`; `download_and_prepare` reads it."""
        self.source = source
        self.image_size = check_image_size(image_size)
        self.progress = progress
        self.intensity_range, self.head_mask = intensity_range, head_mask
        self.config_name = copy_name(fingerprint, image_size, intensity_range, head_mask)
        config = tfds.core.BuilderConfig(name=self.config_name)
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features
        side, known = self.image_size, self.source.known
        fields = {
            "image": features.Tensor(shape=(side, side), dtype=np.uint8, encoding="bytes"),
            "label": features.ClassLabel(names=self.source.classes),
            "id": features.Text(),
            "size": features.Tensor(shape=(2,), dtype=np.int32),
            "mask": features.Tensor(shape=(side, (side + 7) // 8), dtype=np.uint8, encoding="zlib"),
            "patient": features.Text(),
            "fold": features.Scalar(dtype=np.int32),
            "plane": features.Text(),
            "side": features.Text(),
            "remarks": features.Text(),
        }
        always = ("image", "id", "size", "remarks")
        return _Info(
            builder=self,
            description=f"MRI slices of the brain, from {self.source.description}.",
            homepage="https://doi.org/10.6084/m9.figshare.1512427",
            features=features.FeaturesDict({name: f for name, f in fields.items() if name in always or name in known}),
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable[[], Iterator]]]:
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
        image, mask = prepare(raw, self.image_size, self.intensity_range, self.head_mask)
        example: dict[str, Any] = {"image": image, "size": np.array(raw.image.shape, np.int32)}
        if mask is not None:
            example["mask"] = np.packbits(mask, axis=-1)
        example.update((name, value) for name, value in plain_fields(raw).items() if value is not None)
        return example

    def _log_download_bytes(self) -> None:
        """Silences what TFDS prints before preparing: the library does not print."""

    def _log_download_done(self) -> None:
        """Silences what TFDS prints after preparing."""


def copy_name(fingerprint: str, image_size: int, intensity_range: str = "minmax", head_mask: bool = False) -> str:
    """The name of a copy in the cache."""
    # Slices that are prepared by the defaults keep the names that they had before there were options.
    options = f"_{intensity_range}" * (intensity_range != "minmax") + "_head" * head_mask
    return f"{image_size}px_{fingerprint}{options}"


def check_copy(folder: pathlib.Path) -> None:
    """Checks the files that describe a prepared copy, where there is one.

    Raises:
      InputError: one is missing, is no JSON, or is not what was written.
    """
    if not folder.is_dir():
        return
    expected = "a whole prepared copy; delete that folder, and it is prepared again"
    sums = read_json(folder / CHECKSUMS) if (folder / CHECKSUMS).exists() else {}
    for name in DESCRIPTIONS:
        with foreign(f"{folder}: {name} is damaged", expected):
            content = (folder / name).read_bytes()
            if not isinstance(json.loads(content), dict) or not isinstance(sums, dict):
                raise ValueError("not a JSON object")
            if sums.get(name, _sha256(content)) != _sha256(content):
                raise ValueError("its SHA-256 is not that of what was written")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_prepared(
    source: Source,
    image_size: int,
    cache: pathlib.Path,
    progress: ProgressCallback | None = None,
    *,
    stream: bool = False,
    **options: Any,
) -> Slices:
    """The slices of a source at one size, from their copy in the cache, which is prepared first where it is missing.

    Args:
      source: see `btjax.data.builder.load`.
      image_size: side of the images in pixels.
      cache: where copies are kept.
      progress: see `btjax.data.builder.load`.
      stream: whether pixels stay in the copy's files, and are read when they are asked for.
      **options: intensity_range and head_mask, see `btjax.readers.raw.prepare`; each has copies of its own.

    Raises:
      InputError: a file of the source cannot be read, or the copy is damaged.
    """
    with quiet_absl(), nameless_owners():  # TFDS warns of every configuration made at run time, as all of btjax's are
        fingerprint = contents_fingerprint(source, cache, progress)
        check_copy(cache / BrainTumours.name / copy_name(fingerprint, image_size, **options) / READER_VERSION)
        with foreign(f"{cache}: slices cannot be prepared there", CACHE_EXPECTED):
            builder = BrainTumours(
                source=source,
                fingerprint=fingerprint,
                image_size=image_size,
                data_dir=cache,
                progress=progress,
                **options,
            )
            prepared = builder.is_prepared()
        if not prepared:
            with only_process(cache / f"{builder.config_name}.lock"):
                _prepare(builder)
        return (_open_stream if stream else _read_back)(builder, progress)


def _prepare(builder: BrainTumours) -> None:
    """Prepares the copy unless another process has just done so, and removes what a killed process left."""
    place = pathlib.Path(builder.data_path)
    with foreign(f"{place}: slices cannot be prepared there", CACHE_EXPECTED):
        for left_over in place.parent.glob("incomplete.*") if place.parent.is_dir() else ():
            shutil.rmtree(left_over)
        if not builder.is_prepared():
            # TFDS writes into a folder "incomplete.*" and renames it at the end.
            builder.download_and_prepare()
            sync_tree(place)
            sums = {name: _sha256((place / name).read_bytes()) for name in DESCRIPTIONS}
            write_json(place / CHECKSUMS, sums)


def _read_back(builder: BrainTumours, progress: ProgressCallback | None) -> Slices:
    """Reads the records of a prepared builder into arrays."""
    side, known, total = builder.image_size, builder.source.known, len(builder.source)
    buffer = SlicesBuffer(total, side, known, builder.source.classes)
    with foreign(f"{builder.data_dir}: this prepared copy is damaged", "a whole one; delete it"):
        # The info was read at construction, which may have been before another process prepared the copy.
        builder.info.read_from_directory(builder.data_dir)
        # TFDS's decorator hides the method's arguments from the type checker.
        source = builder.as_data_source(split=SPLIT)  # pyright: ignore[reportCallIssue]
        records = cast("Sequence[dict[str, Any]]", source)
        if len(records) != total:
            raise ValueError(f"{len(records)} records instead of {total}")
        for row in range(total):
            record = records[row]
            mask = np.unpackbits(record["mask"], axis=-1, count=side) if "mask" in known else None
            values = {name: _as_text(record[name]) for name in buffer.values}
            buffer.put(row, record["image"], mask, record["size"], **values)
            if progress is not None:
                progress("read", row + 1, total)
    return buffer.slices()


def _open_stream(builder: BrainTumours, progress: ProgressCallback | None) -> Slices:
    """Reads what is known of the slices of a prepared builder, and leaves their pixels in its files."""
    side, known, total = builder.image_size, builder.source.known, len(builder.source)
    with foreign(f"{builder.data_dir}: this prepared copy is damaged", "a whole one; delete it"):
        builder.info.read_from_directory(builder.data_dir)
        paths = sorted(map(pathlib.Path, builder.info.splits[SPLIT].filepaths))
        features: Any = builder.info.features
        records = Records(paths)
        if len(records) != total:
            raise ValueError(f"{len(records)} records instead of {total}")
        masks = lazy_masks(records, side) if "mask" in known else None
        images = lazy_images(records, side)
        buffer, some = SlicesBuffer(total, side, known, builder.source.classes, (images, masks)), rows_in_part(images)
        for first in range(0, total, some):
            rows = np.arange(first, min(first + some, total))
            records.read(rows, partial(_put_known, buffer, first, features))
            if progress is not None:
                progress("read", int(rows[-1]) + 1, total)
    return buffer.slices()


def _put_known(buffer: SlicesBuffer, first: int, features: Any, place: int, content: bytes) -> None:
    """Puts what is known of a slice, without its pixels, into its row."""
    pixels = {name: tfds.decode.SkipDecoding() for name in ("image", "mask") if name in features}
    record = features.deserialize_example_np(content, decoders=pixels)
    buffer.put(first + place, None, None, record["size"], **{name: _as_text(record[name]) for name in buffer.values})


def _as_text(value: Any) -> Any:
    """Text from the bytes that TFDS gives for it; numbers as they are."""
    return value.decode() if isinstance(value, bytes) else value
