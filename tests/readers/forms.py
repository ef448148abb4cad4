"""Tiny data sets in every form that users have, for tests of all of btjax: writers, and what checks a reader.

`make_slices` makes the content; `write_mat_folder`, `write_zips`, `write_kaggle`, `write_classes` and `write_manifest`
write the same content in one form each.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import zipfile
from typing import TYPE_CHECKING

import h5py
import matplotlib
import numpy as np
import pytest
from PIL import Image

from btjax.base.errors import InputError
from btjax.data.sources import find_source
from btjax.readers.raw import RawSlice, SlicesBuffer, check_image_size, id_order, plain_fields, prepare
from btjax.readers.slices import CLASSES, Slices

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class TinySlice:
    """One made-up slice; `image` is uint8 [H, W], `mask` bool [H, W], `number` its N, `label` 0 to 2."""

    number: int
    label: int
    patient: str
    image: np.ndarray
    mask: np.ndarray
    fold: int
    plane: str


def make_slices(count: int = 9, size: int = 32, seed: int = 0) -> list[TinySlice]:
    """Slices with no symmetry whose label, patient and fold vary; the last one has half the size.

    Patient MR000005B is there so that families differ from patients. Numbers run 1, 2, ..., past 9 for count > 9.
    """
    rng = np.random.default_rng(seed)
    slices = []
    for row in range(count):
        side = size // 2 if row == count - 1 else size
        image = rng.integers(0, 200, (side, side)).astype(np.uint8)
        image[: side // 4, : side // 2] += 50
        mask = np.zeros((side, side), bool)
        mask[side // 8 : side // 2, side // 2 : side - 2] = True
        label = row % 3
        patient = ("100360", "MR000005", "110011")[label] if row < 6 else ("100361", "MR000005B", "110012")[label]
        plane = ("axial", "coronal", "sagittal")[(row // 3) % 3]
        slices.append(TinySlice(row + 1, label, patient, image, mask, row % 5 + 1, plane))
    return slices


def mat_bytes(tiny: TinySlice, gain: int = 7, **replaced) -> bytes:
    """One MATLAB v7.3 file as figshare has it; `replaced` overrides stored datasets, None leaves one out."""
    fields = {
        "label": np.full((1, 1), tiny.label + 1.0),
        "PID": np.array([[ord(letter)] for letter in tiny.patient], np.uint16),
        "image": (tiny.image.astype(np.int16) * gain).T,
        "tumorBorder": np.array([[1.0, 1.0, 2.0, 2.0]]),
        "tumorMask": tiny.mask.T.astype(np.uint8),
    } | replaced
    classes = {"PID": "char", "image": "int16", "tumorMask": "logical"}
    return _hdf5({f"cjdata/{name}": value for name, value in fields.items()}, classes)


def cvind_bytes(folds: list[int]) -> bytes:
    """cvind.mat of the folds of slices 1, 2, ..."""
    return _hdf5({"cvind": np.array([folds], np.float64)}, {})


def _hdf5(datasets: dict[str, np.ndarray | None], classes: dict[str, str]) -> bytes:
    """An HDF5 file behind MATLAB's header of 512 bytes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        for path, value in datasets.items():
            if value is not None:
                name = path.rpartition("/")[2]
                options = {"compression": "gzip"} if name in ("image", "tumorMask") else {}
                dataset = file.create_dataset(path, data=value, **options)
                dataset.attrs["MATLAB_class"] = np.bytes_(classes.get(name, "double"))
        if "cjdata" in file:
            file["cjdata"].attrs["MATLAB_class"] = np.bytes_("struct")
    data = bytearray(buffer.getvalue())
    header = b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(116) + b"\0" * 8 + b"\x00\x02IM"
    data[: len(header)] = header
    return bytes(data)


def write_mat_folder(folder: pathlib.Path, slices: list[TinySlice], folds: bool = True, nested: bool = False):
    """Loose N.mat with cvind.mat; `nested` puts them into subfolders, as unpacking the four zips does."""
    for tiny in slices:
        parent = folder / f"brainTumorDataPublic_{tiny.number % 2}" if nested else folder
        parent.mkdir(parents=True, exist_ok=True)
        (parent / f"{tiny.number}.mat").write_bytes(mat_bytes(tiny))
    if folds:
        (folder / "cvind.mat").write_bytes(cvind_bytes([tiny.fold for tiny in slices]))
    return folder


def write_zips(folder: pathlib.Path, slices: list[TinySlice], names=("a.zip", "b.zip"), folds: bool = True):
    """The slices dealt to zips of these names in blocks, cvind.mat beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = np.array_split(np.arange(len(slices)), len(names))
    for name, block in zip(names, blocks, strict=True):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for row in block:
                archive.writestr(f"{slices[row].number}.mat", mat_bytes(slices[row]))
    if folds:
        (folder / "cvind.mat").write_bytes(cvind_bytes([tiny.fold for tiny in slices]))
    return folder


def write_kaggle(folder: pathlib.Path, slices: list[TinySlice]):
    """Class folders 1/ 2/ 3/ of viridis-coloured PNGs."""
    for tiny in slices:
        parent = folder / str(tiny.label + 1)
        parent.mkdir(parents=True, exist_ok=True)
        colours = matplotlib.colormaps["viridis"](tiny.image, bytes=True)[..., :3]
        Image.fromarray(colours).save(parent / f"{tiny.number}.png")
    return folder


def write_classes(folder: pathlib.Path, slices: list[TinySlice], names=CLASSES, suffix: str = ".png"):
    """Class folders of grey images under the given names."""
    for tiny in slices:
        parent = folder / names[tiny.label]
        parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tiny.image).save(parent / f"{tiny.number}{suffix}")
    return folder


def write_manifest(folder: pathlib.Path, slices: list[TinySlice], masks: bool = True, columns: tuple | None = None):
    """images/ + masks/ + manifest.csv; `columns` picks columns of the manifest."""
    columns = columns or ("id", "label", "pid", "author_fold", "plane_derived")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if masks:
        (folder / "masks").mkdir(exist_ok=True)
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for tiny in slices:
            row = {"id": tiny.number, "label": tiny.label + 1, "pid": tiny.patient, "author_fold": tiny.fold}
            writer.writerow(row | {"plane_derived": tiny.plane})
            Image.fromarray(tiny.image).save(folder / "images" / f"{tiny.number}.png")
            if masks:
                Image.fromarray(tiny.mask).save(folder / "masks" / f"{tiny.number}.png")
    return folder


def read_all(folder):
    return list(find_source(folder).read())


def assert_refused(folder, *words):
    """Reading the folder gives a one-line InputError that holds the words."""
    with pytest.raises(InputError) as caught:
        read_all(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def assemble(raws: Iterable[RawSlice], image_size: int, classes: tuple[str, ...] = CLASSES) -> Slices:
    """Turns raw slices into `Slices`, sorted by id.

    Args:
      raws: the slices, in any order.
      image_size: S, side of the result in pixels; smaller slices (256 x 256) are scaled up like the others.

    Returns:
      `Slices` of uint8 [N, S, S]; a field that no slice has is None.

    Raises:
      InputError: there is no slice, an id repeats, only some slices have a field, or pixels are unusable.
    """
    rows = [(raw, *prepare(raw, check_image_size(image_size))) for raw in raws]
    if not rows:
        raise InputError("no slices were found, expected at least one")
    ids = [raw.id for raw, _, _ in rows]
    if len(set(ids)) != len(ids):
        repeated = collections.Counter(ids).most_common(1)[0][0]
        raise InputError(f"slice {repeated} is there twice, expected each id once")
    known = rows[0][0].known()
    buffer = SlicesBuffer(len(rows), image_size, known, classes)
    for row, source_row in enumerate(id_order(ids)):
        raw, image, mask = rows[source_row]
        if raw.known() != known:
            name = sorted(raw.known() ^ known)[0]
            raise InputError(f"{raw.where}: only some slices have a {name} (slice {raw.id}), expected all or none")
        buffer.put(row, image, mask, raw.image.shape, **plain_fields(raw))
    return buffer.slices()
