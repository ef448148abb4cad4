"""Data sets of every form, each spoiled at random: bytes, fields, cells, names and kinds of files."""

from __future__ import annotations

import contextlib
import csv
import os
import socket
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from btjax.data.sources import find_source
from btjax.readers.raw import prepare
from tests.attack.outcome import Attack, Random, damage, pick
from tests.readers import forms

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable


def check_source(folder: pathlib.Path) -> None:
    """Reads a data folder to its end; what comes out must be slices."""
    source = find_source(folder)
    for (image, mask), raw in source.read(lambda raw: (prepare(raw, 16), raw)):
        assert image.shape == (16, 16), image.shape
        assert image.dtype == np.uint8, image.dtype
        assert mask is None or (mask.shape == (16, 16) and mask.dtype == bool)
        assert raw.label in range(len(source.classes)), raw.label
        assert raw.patient is None or raw.patient.strip(), raw.patient
        assert raw.fold is None or 1 <= raw.fold <= 100, raw.fold


def _medical(writer: str) -> Callable[[pathlib.Path, list[forms.TinySlice]], Any]:
    def write(folder: pathlib.Path, slices: list[forms.TinySlice]) -> None:
        import nibabel

        from tests.readers import medical_forms

        for tiny in slices:
            name = folder / forms.CLASSES[tiny.label] / f"p{tiny.number}"
            name.parent.mkdir(parents=True, exist_ok=True)
            if writer == "dicom":
                fields = {"PatientID": tiny.patient, "SeriesInstanceUID": f"1.2.{tiny.number}"}
                medical_forms.write_dicom(name.with_suffix(".dcm"), tiny.image.astype(np.uint16) * 3, **fields)
            else:
                voxels = np.repeat(tiny.image[..., None].astype(np.float32), 3, axis=2)
                nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), f"{name}{writer}")

    return write


FORMS: dict[str, Callable[[pathlib.Path, list[forms.TinySlice]], Any]] = {
    "loose .mat": forms.write_mat_folder,
    "zips of .mat": forms.write_zips,
    "Kaggle's folders": forms.write_kaggle,
    "class folders of PNG": forms.write_classes,
    "class folders of JPEG": lambda folder, slices: forms.write_classes(folder, slices, suffix=".jpg"),
    "class folders of TIFF": lambda folder, slices: forms.write_classes(folder, slices, suffix=".tif"),
    "manifest": forms.write_manifest,
    "DICOM": _medical("dicom"),
    "NIfTI": _medical(".nii"),
    "NIfTI, gzip": _medical(".nii.gz"),
}


def damaged_form(place: pathlib.Path, random: Random) -> Attack:
    """A form of data set, some bytes of one of its files damaged."""
    name = pick(random, FORMS)
    FORMS[name](place, forms.make_slices(6))
    path = pick(random, [path for path in sorted(place.rglob("*")) if path.is_file()])
    data, how = damage(path.read_bytes(), random)
    path.write_bytes(data)
    return Attack("bytes of data files", f"{name}: {how} in {path.relative_to(place)}", lambda: check_source(place))


TEXT = np.array([[ord(letter)] for letter in "MR1"], np.uint16)
VALUES: dict[str, Any] = {
    "NaN": np.full((32, 32), np.nan),
    "infinity": np.full((32, 32), np.inf),
    "1.7e308": np.where(np.eye(32) > 0, 1.7e308, 0),
    "negative": -np.eye(32),
    "fractions": np.eye(32) / 3,
    "complex": np.eye(32) * 1j,
    "bool": np.eye(32, dtype=bool),
    "float16": np.eye(32, dtype=np.float16),
    "uint64": np.full((32, 32), 2**63, np.uint64),
    "text": TEXT,
    "bytes": np.array(b"glioma"),
    "no dimension": np.float64(1),
    "three dimensions": np.ones((3, 32, 32)),
    "nothing": np.zeros((0, 0)),
    "one row": np.ones((1, 3000)),
    "9999": np.full((1, 1), 9999.0),
    "0": np.zeros((1, 1)),
    "1e20": np.full((1, 1), 1e20),
    "a pair": np.zeros(2, [("a", "f8"), ("b", "i4")]),
}
STORED: dict[str, Callable[[h5py.Group, str, pathlib.Path], Any]] = {
    "a group": lambda group, name, _: group.create_group(name),
    "declared with 1e12 numbers": lambda group, name, _: group.create_dataset(
        name, (10**6, 10**6), np.float64, chunks=(100, 100)
    ),
    "a soft link": lambda group, name, _: group.__setitem__(name, h5py.SoftLink("/cjdata/label")),
    "another file": lambda group, name, place: group.__setitem__(
        name, h5py.ExternalLink(str(place / "2.mat"), "/cjdata/image")
    ),
    "stored externally": lambda group, name, _: group.create_dataset(
        name, (32, 32), np.uint8, external=[("/etc/passwd", 0, 1024)]
    ),
    "references": lambda group, name, _: group.create_dataset(
        name, data=np.array([group.ref] * 4, h5py.ref_dtype), dtype=h5py.ref_dtype
    ),
    "text of any length": lambda group, name, _: group.create_dataset(name, data="glioma", dtype=h5py.string_dtype()),
}


def other_field(place: pathlib.Path, random: Random) -> Attack:
    """A .mat file with a field of other values, or stored in another way."""
    slices = forms.make_slices(6)
    forms.write_mat_folder(place, slices)
    path, field = place / "1.mat", pick(random, ("image", "tumorMask", "label", "PID", "cvind"))
    how = pick(random, [*VALUES, *STORED])
    if field == "cvind":
        path, group = place / "cvind.mat", "/"
    else:
        group = "cjdata"
    with h5py.File(path, "r+") as file:
        del file[group][field]
        if how in VALUES:
            file[group].create_dataset(field, data=VALUES[how])
        else:
            STORED[how](file[group], field, place)
    return Attack("fields of .mat files", f"{field}: {how}", lambda: check_source(place))


CELLS = (
    "", " ", "0", "-1", "4", "1.5", "NaN", "inf", "1e400", "9" * 5000, "\uff11", "\u0662", "true", "None", "\0",
    "\u200b", "\u202eevil", "=1+1", "<script>", "../../etc/passwd", "/dev/zero", "~nosuchuser/x", "a\nb",
    "unknown", "MR1", "\ud7ff",
)  # fmt: skip


def other_cell(place: pathlib.Path, random: Random) -> Attack:
    """A manifest with another cell."""
    forms.write_manifest(place, forms.make_slices(6))
    with open(place / "manifest.csv", newline="") as file:
        rows = list(csv.reader(file))
    row, column = int(random.integers(len(rows))), int(random.integers(len(rows[0])))
    cell = pick(random, CELLS)
    where, rows[row][column] = f"row {row}, {rows[0][column]}", cell
    with open(place / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return Attack("cells of manifests", f"{where}: {cell[:20]!r}", lambda: check_source(place))


def _make_socket(path: pathlib.Path) -> None:
    # The path of a socket may have some hundred letters at most.
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def odd_names(place: pathlib.Path, random: Random) -> Attack:
    """A form of data set, one of its files of another kind or under another name."""
    name = pick(random, FORMS)
    FORMS[name](place, forms.make_slices(6))
    path = pick(random, [path for path in sorted(place.rglob("*")) if path.is_file()])
    other = {
        "a pipe": lambda: os.mkfifo(path),
        "a socket": lambda: _make_socket(path),
        "a folder": path.mkdir,
        "a link to itself": lambda: path.symlink_to(path),
        "a link to nothing": lambda: path.symlink_to("nothing"),
        "a link to a device": lambda: path.symlink_to("/dev/zero"),
        "a name that is no UTF-8": lambda: os.mkfifo(os.fsencode(path.parent) + b"/\xff\xfe" + path.suffix.encode()),
        "a name with a line break": lambda: (path.parent / f"a\nb{path.suffix}").write_bytes(b"x"),
        "a name of many digits": lambda: (path.parent / f"{'9' * 200}{path.suffix}").write_bytes(b"x"),
        "a name with markup": lambda: (path.parent / f"<img onerror=x>{path.suffix}").write_bytes(b"x"),
        "a file of 1 TB": lambda: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40),
        "nothing": lambda: None,
    }
    how = pick(random, other)
    path.unlink()
    other[how]()
    return Attack("names and kinds of files", f"{name}: {how} for {path.name}", lambda: check_source(place))
