"""Bad inputs by kind, each made at random from a seed: files, cells, options, configs, weights and calls."""

from __future__ import annotations

import contextlib
import copy
import csv
import dataclasses
import json
import math
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import h5py
import jax
import numpy as np
from PIL import Image

import btjax
from btjax.base.errors import InputError
from btjax.base.options import check_option, option_type, options
from btjax.data.sources import find_source
from btjax.readers.raw import prepare
from btjax.saliency.classifier import Classifier
from btjax.saliency.methods import METHODS, attribution_maps
from btjax.systems.config import Config, config_groups
from btjax.systems.system import system_names
from btjax.weights.keras import read_keras
from tests.readers import forms

if TYPE_CHECKING:
    import pathlib

Random = np.random.Generator

READ, REFUSED, WRONG = "read", "refused", "wrong"


@dataclasses.dataclass(frozen=True)
class Attack:
    """One bad input.

    Attributes:
      kind: what it stands for.
      name: what was done, for a person who wants to do it again.
      act: gives it to btjax. It returns where that took the input for good and what came out is sound; it raises
        InputError where btjax refused, anything else where it went wrong.
    """

    kind: str
    name: str
    act: Callable[[], None]


def outcome(attack: Attack) -> tuple[str, str]:
    """What became of an input, READ, REFUSED or WRONG, and the message."""
    try:
        with np.errstate(all="ignore"):
            attack.act()
    except InputError as error:
        message = str(error)
        return (REFUSED, message) if message and "\n" not in message else (WRONG, f"{message!r} is no line")
    except BaseException as error:  # whatever else comes out is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        return WRONG, f"{type(error).__name__}: {error}"
    return READ, ""


def attacks(folder: pathlib.Path, run: btjax.Run, count: int, seed: int = 0) -> Iterator[Attack]:
    """Inputs of every kind by turns, until there are `count`.

    Args:
      folder: an empty one for what is written.
      run: a small finished classifier's run, whose files are copied and changed.
      count: how many.
      seed: another seed, other inputs.
    """
    makers: list[Callable[[pathlib.Path, Random], Attack]] = [
        lambda place, random: _damaged_form(place, random),
        lambda place, random: _other_field(place, random),
        lambda place, random: _other_cell(place, random),
        lambda place, random: _odd_names(place, random),
        lambda place, random: _option(random),
        lambda place, random: _changed_json(place, random, run),
        lambda place, random: _weights(place, random),
        lambda place, random: _to_predict(place, random, run),
        lambda place, random: _call(random, run),
    ]
    for number in range(count):
        random = np.random.default_rng([seed, number])
        place = folder / str(number)
        place.mkdir(parents=True)
        yield makers[number % len(makers)](place, random)


def pick(random: Random, choices: Any) -> Any:
    """One of some choices, with its own type."""
    return list(choices)[random.integers(len(choices))]


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


def damage(data: bytes, random: Random) -> tuple[bytes, str]:
    """Some bytes changed as disks, networks and attackers change them, and how."""
    changed, length = bytearray(data), max(len(data), 1)
    place, size = int(random.integers(length)), int(random.integers(1, 1 + min(length, 512)))
    how = pick(random, ("flips", "cut", "zeros", "ones", "noise", "longer", "twice", "empty"))
    if how == "flips":
        for one in random.integers(length, size=random.integers(1, 9)):
            changed[int(one) % length] ^= 1 << int(random.integers(8))
    elif how == "cut":
        del changed[place:]
    elif how in ("zeros", "ones"):
        changed[place : place + size] = (b"\0" if how == "zeros" else b"\xff") * len(changed[place : place + size])
    elif how == "noise":
        changed[place : place + size] = random.bytes(len(changed[place : place + size]))
    elif how == "longer":
        changed += random.bytes(size)
    elif how == "twice":
        changed += bytes(changed)
    else:
        changed = bytearray()
    return bytes(changed), how


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


def _damaged_form(place: pathlib.Path, random: Random) -> Attack:
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


def _other_field(place: pathlib.Path, random: Random) -> Attack:
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


def _other_cell(place: pathlib.Path, random: Random) -> Attack:
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


def _odd_names(place: pathlib.Path, random: Random) -> Attack:
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


OPTIONS = (
    -1, 0, 1, 3, True, None, 2**31, 2**63, 10**400, 1e308, -1e308, 5e-324, 0.5, math.nan, math.inf, -math.inf,
    "", "1", "x" * 10**5,
    "../x", "\0", [], [1], {}, {"a": 1}, (), (0,), (-1,), (1,) * 10**5, ("a",), (None,), (2**40,), (True,), ((1,),),
    1j, b"1", object(), np.float64(2), np.zeros(3), np.int64(7),
)  # fmt: skip


def _option(random: Random) -> Attack:
    system = pick(random, system_names())
    groups = config_groups(system)
    group = pick(random, groups)
    name, value = pick(random, [*options(groups[group])] or ["x"]), pick(random, OPTIONS)

    def act() -> None:
        config = Config.default(system).replace(f"{group}.{name}", value)
        found = getattr(getattr(config, group), name)
        kind, element = option_type(groups[group], name)
        assert type(found) is kind or (kind is float and type(found) is int), (found, kind)
        assert element is None or all(isinstance(one, element) for one in found)
        check_option(groups[group], name, found, name)
        assert Config.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False)), "config.json") == config

    shown = repr(value)
    return Attack("options", f"{system}: {group}.{name} = {shown[:30]}", act)


NODES = (None, True, -1, 0, 1.5, 2**70, 1e308, "", "x", "\ud800", "<script>", [], {}, [[]], {"a": []}, [1] * 1000)


def _changed_json(place: pathlib.Path, random: Random, run: btjax.Run) -> Attack:
    """config.json or report.json with a value of another kind, its checksum left, taken out or damaged."""
    path = pick(random, ("config.json", "report.json"))
    values = json.loads((run.folder / path).read_text())
    whole = copy.deepcopy(values)
    node, trail = values, [pick(random, values)]
    while isinstance(node[trail[-1]], dict | list) and node[trail[-1]] and random.random() < 0.8:
        node = node[trail[-1]]
        trail.append(pick(random, node if isinstance(node, dict) else range(len(node))))
    how, kept = pick(random, ("another value", "missing")), pick(random, (True, False))
    if how == "missing":
        del node[trail[-1]]
    else:
        node[trail[-1]] = pick(random, NODES)
    if not kept:
        values.pop("sha256", None)
    if random.random() < 0.1:
        values, how = pick(random, NODES), "another file"
    for name in ("config.json", "report.json"):
        (place / name).write_text(json.dumps(values if name == path else json.loads((run.folder / name).read_text())))

    def act() -> None:
        found = btjax.Run(place)
        config, _ = found.config, found.report
        if path == "config.json":
            json.dumps(config.to_json(), allow_nan=False)
        elif kept and trail != ["sha256"]:
            assert values == whole or how == "another file", "a report with a false checksum was read"

    name = f"{path}: {how} at {'.'.join(map(str, trail))}{'' if kept else ', without checksum'}"
    return Attack("configs and reports", name, act)


def _weights(place: pathlib.Path, random: Random) -> Attack:
    path = place / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv", b"dense"]
        for layer in ("conv", "dense"):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/kernel:0".encode(), f"{layer}/bias:0".encode()]
            group.create_dataset(
                f"{layer}/kernel:0", data=np.ones((3, 3, 1, 4) if layer == "conv" else (4, 3), np.float32)
            )
            group.create_dataset(f"{layer}/bias:0", data=np.ones(4 if layer == "conv" else 3, np.float32))
        how = pick(random, ("bytes", "layer_names", "weight_names", *STORED))
        if how in STORED:
            del file["conv/conv/kernel:0"]
            STORED[how](file["conv/conv"], "kernel:0", place)
        elif how != "bytes":
            holder = file if how == "layer_names" else file["conv"]
            holder.attrs[how] = pick(random, (1, np.nan, b"", "conv", [b"\xff"], [1.5], np.zeros((2, 2)), [b"/"] * 500))
    if how == "bytes":
        data, how = damage(path.read_bytes(), random)
        path.write_bytes(data)

    def act() -> None:
        for held in read_keras(path).layers.values():
            for array in held.values():
                assert isinstance(array, np.ndarray)

    return Attack("files of weights", how, act)


def _to_predict(place: pathlib.Path, random: Random, run: btjax.Run) -> Attack:
    """Two pictures to predict, one of them damaged: two answers, or one and a reason."""
    image = forms.make_slices(1)[0].image
    suffix = pick(random, (".png", ".jpg", ".tif", ".bmp", ".webp"))
    for name in ("a", "b"):
        Image.fromarray(image).save(place / f"{name}{suffix}")
    data, how = damage((place / f"b{suffix}").read_bytes(), random)
    (place / f"b{suffix}").write_bytes(data)

    def act() -> None:
        answers = btjax.predict(run, place)
        assert len(answers) == 2, f"{len(answers)} answers"
        good, bad = answers
        assert good.probabilities is not None
        for answer in (good, bad):
            if answer.probabilities is not None:
                assert abs(sum(answer.probabilities.values()) - 1) < 1e-4
            else:
                assert answer.reason, "no class and no reason"

    return Attack("images to predict", f"{suffix}: {how}", act)


ARRAYS = {
    "NaN": np.full((2, 32, 32, 1), np.nan, np.float32),
    "infinity": np.full((2, 32, 32, 1), np.inf, np.float32),
    "text": np.full((2, 32, 32, 1), "x"),
    "objects": np.full((2, 32, 32, 1), None),
    "complex": np.ones((2, 32, 32, 1), complex),
    "no images": np.zeros((0, 32, 32, 1), np.uint8),
    "one dimension": np.zeros(32, np.uint8),
    "another size": np.zeros((2, 31, 32, 1), np.uint8),
    "five dimensions": np.zeros((2, 1, 32, 32, 1), np.uint8),
    "two channels": np.zeros((2, 32, 32, 2), np.uint8),
    "a list": [[1, 2], [3]],
    "None": None,
    "a number": 7,
    "sound": np.random.default_rng(0).integers(0, 255, (2, 32, 32, 1), np.uint8),
}
TARGETS = ([0, 1], [0, 9], [-1, 0], [1.9, 0.0], [np.nan, 0], ["a", "b"], [0], [], None, [[0, 1]], [True, False])
SIZES = (1, 16, 0, -5, 1.5, "2", None, True, 2**40, np.inf)


def _call(random: Random, run: btjax.Run) -> Attack:
    """Calls of the library with arguments that are none; ValueError and TypeError name a program's mistake."""
    images, targets, size = pick(random, ARRAYS), pick(random, TARGETS), pick(random, SIZES)
    calls = {
        "attribution_maps": lambda: attribution_maps(
            Classifier(run.model, run.variables),
            ARRAYS[images],
            targets,
            jax.random.key(0),
            METHODS["gradient"],
            batch_size=size,
        ),
        "explain": lambda: btjax.explain(run, ARRAYS[images]),
        "predict": lambda: btjax.predict(run, ARRAYS[images]),
        "make_phantom": lambda: btjax.make_phantom(size, pick(random, SIZES[1:]), 32),
        "make_split": lambda: btjax.make_split(
            btjax.make_phantom(6, 1, 32), "patient", size, folds=pick(random, SIZES)
        ),
    }
    name = pick(random, calls)

    def act() -> None:
        try:
            found = calls[name]()
        except (ValueError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            line = str(error)
            assert line and "\n" not in line and "jax" not in line.lower(), line
            raise InputError(line) from None
        if name in ("attribution_maps", "explain"):
            assert np.isfinite(np.asarray(found, np.float32)).all()

    return Attack("calls from Python", f"{name}: {images}, {targets}, {size}"[:80], act)
