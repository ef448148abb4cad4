"""Slices of volumes kept as NIfTI files (.nii, .nii.gz), as research pipelines write them.

A volume is cut along one plane of the patient, whatever the order in which the file stores it, and its slices are
turned to radiological orientation (`btjax.readers.orientation`).
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import gzip
import hashlib
import math
import pathlib
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.files import CACHE_EXPECTED, cache_folder, make_cache, read_json, write_json
from btjax.base.limits import check_limit
from btjax.base.opening import check_regular, open_regular
from btjax.readers.mask_names import MASK_WORDS
from btjax.readers.orientation import AXES, RESAMPLED, are_square, check_spacing, square_pixels
from btjax.readers.parts import Found, Part, recent
from btjax.readers.pseudonyms import pseudonym
from btjax.readers.raw import RawSlice, in_order

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

SUFFIXES = (".nii", ".nii.gz")

_MASK = re.compile(rf"(.+)[ _.-]({MASK_WORDS})", re.IGNORECASE)
_BRAIN_MASK = re.compile(r"(.*[ _.-])?(brain|bet|head)[ _.-]?masks?", re.IGNORECASE)
_MASK_FOLDER = re.compile(rf"({MASK_WORDS})(tr|ts)?|derivatives", re.IGNORECASE)
_SEQUENCE = re.compile(
    r"(.+?)([ _.-](t1|t1w|t1c|t1n|t1ce|t1gd|t1km|t2|t2w|t2f|flair|pd|pdw|dwi|adc|swi|000[0-9]))+", re.IGNORECASE
)
_SUBJECT = re.compile(r"sub-[0-9a-z]+", re.IGNORECASE)
_NO_NAME = re.compile(r"(t1|t1w|t1c|t1n|t1ce|t1gd|t2|t2w|t2f|flair|pd|anat|brain|image|img|volume|scan)", re.IGNORECASE)

_HOLES = "NaN read as the volume's lowest value"
_LOOK_VERSION = 1
_HEAD_LEVEL, _HEAD_SHARE = 0.1, 0.01
_FEW_VALUES = 8
_HEADER = 540
_TILTED = np.deg2rad(20)


@dataclasses.dataclass(frozen=True)
class Volume:
    """A volume cut along a plane.

    Attributes:
      voxels: [slices, H, W] in radiological orientation.
      spacing: between rows and between columns, in mm.
      affine: [4, 4], voxel numbers of `voxels` to mm in the patient.
      known: whether the file tells where the patient's left and right are.
    """

    voxels: np.ndarray
    spacing: tuple[float, float]
    affine: np.ndarray
    known: bool

    @functools.cached_property
    def lowest(self) -> np.generic:
        """The lowest value that is a number."""
        return np.nanmin(self.voxels)


@dataclasses.dataclass(frozen=True)
class _Look:
    """What must be known of a volume before its slices can be listed; kept in the cache, since it takes all voxels."""

    kept: tuple[int, ...]
    count: int
    known: bool
    tilted: bool


_Readers = tuple[Callable[[pathlib.Path], Volume], Callable[[tuple[pathlib.Path, pathlib.Path]], np.ndarray]]
"""What reads a volume, and what reads the mask of a volume and checks it; both keep what they read last."""


def is_nifti(path: pathlib.Path) -> bool:
    """Whether a file is called like a NIfTI file."""
    return path.name.lower().endswith(SUFFIXES)


def find_volumes(
    folder: pathlib.Path,
    paths: Sequence[pathlib.Path],
    salt: bytes,
    plane: str = "axial",
    cache_dir: str | os.PathLike | None = None,
) -> Found:
    """The slices of NIfTI files, and what is to be said of the files.

    Slices without a head are left out: those of which less than 1% lies above a tenth of the volume's range (from its
    1st to its 99.5th percentile). A slice's id is the file's path without its suffix and the slice's number in the
    whole volume from 1 on, from inferior to superior (coronal: from anterior to posterior, sagittal: from left to
    right). The patient is the file's name, without the name of a sequence (T1, flair, ...) at its end, or `sub-NAME` in
    a path of the Brain Imaging Data Structure (BIDS). x_seg.nii.gz or x_mask.nii.gz beside x.nii.gz is its mask.

    Args:
      folder: the data folder.
      paths: the NIfTI files in it.
      salt: the secret of pseudonyms.
      plane: axial, coronal or sagittal.
      cache_dir: where it is kept which slices show a head; see `btjax.base.files.cache_folder`.

    Raises:
      InputError: a file is damaged, holds several volumes or none with a head, or is a mask that fits no volume.
    """
    volumes, masks, notes = _with_masks(folder, paths)
    cache = cache_folder(cache_dir)
    load = recent(functools.partial(read_volume, plane=plane), 4)
    fit = recent(functools.partial(_fitting, load), 4)
    names = {path: _name(path.relative_to(folder)) for path in volumes}
    readers = load, fit

    def look_at(path: pathlib.Path) -> _Look:
        return _look_once(path, masks.get(path), (plane, cache), readers)

    looks = list(in_order(look_at, volumes, threads=2))
    parts = []
    for path, look in zip(volumes, looks, strict=True):
        mask, patient = masks.get(path), pseudonym(_patient(path.relative_to(folder)), salt)
        for index in look.kept:
            name = f"{names[path]}/{index + 1:0{max(3, len(str(look.count)))}}"
            known = frozenset({"patient", "plane"} | (set() if mask is None else {"mask"}))
            fields = {"id": name, "patient": patient, "plane": plane}
            read = functools.partial(_read_slice, readers, (path, mask), index, fields)
            parts.append(Part(name, (path,) if mask is None else (path, mask), patient, known, read))
    notes += _notes(looks)
    return Found("NIfTI volumes", tuple(parts), tuple(notes), f", cut {plane}")


def read_volume(path: pathlib.Path, plane: str = "axial") -> Volume:
    """Reads a NIfTI file and turns it, by its affine, so that its first axis runs across slices of the plane.

    Raises:
      InputError: the file is damaged, or holds no single volume of real numbers.
    """
    with foreign(str(path), "a NIfTI volume"):
        import nibabel
        from nibabel import affines, orientations

        check_regular(path, "volume_file")
        _check_header(path)
        # nibabel gives the union of its formats; all that hold volumes have these attributes.
        image: Any = nibabel.load(path, mmap=False)  # a mapped file that is changed under it would change, or crash
        shape = list(image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape.pop()
        if len(shape) not in (2, 3):
            found = " x ".join(map(str, shape))
            raise InputError(
                f"{path}: found {found} voxels, expected one volume (nibabel.four_to_three splits several)"
            )
        check_limit("volume", math.prod(shape), path)
        check_limit("image_side", max(shape, default=0), path)
        affine = np.asarray(image.affine, np.float64)
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise InputError(f"{path}: found an affine that spans no space, expected one of rank 3")
        voxels = np.asanyarray(image.dataobj).reshape((*shape, 1)[:3])
        if voxels.dtype.kind not in "buif":
            raise InputError(f"{path}: found voxels of {voxels.dtype}, expected one real number in each")
        voxels = voxels.astype(np.uint8 if voxels.dtype == bool else voxels.dtype.newbyteorder("="), copy=False)
        start = orientations.io_orientation(affine)
        turn = orientations.ornt_transform(start, orientations.axcodes2ornt(AXES[plane]))
        turned = affine @ orientations.inv_ornt_aff(turn, voxels.shape)
        voxels = orientations.apply_orientation(voxels, turn)
        sizes = affines.voxel_sizes(turned)
        known = bool(image.header.get("sform_code", 1) or image.header.get("qform_code", 1))
    spacing = float(sizes[1]), float(sizes[2])
    check_spacing(spacing, str(path))
    if min(voxels.shape[1:]) < 2:
        found = f"{plane} slices of {voxels.shape[1]} x {voxels.shape[2]} voxels"
        raise InputError(f"{path}: found {found}, expected another --plane or a volume that has this one")
    return Volume(voxels, spacing, turned, known)


def _check_header(path: pathlib.Path) -> None:
    """Checks where the voxels begin: nibabel reads all that stands before them, unpacked, at once."""
    with open_regular(path, "volume_file") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        start = (gzip.GzipFile(fileobj=file) if packed else file).read(_HEADER)
    for order in "<>":
        for size, place, kind in ((348, 108, "f"), (540, 168, "q")):
            if len(start) >= size and struct.unpack_from(f"{order}i", start)[0] == size:
                offset = struct.unpack_from(order + kind, start, place)[0]
                if not math.isfinite(offset) or offset < 0:
                    raise InputError(f"{path}: found voxels that begin at byte {offset}, expected a place in the file")
                check_limit("volume_header", math.ceil(offset), f"{path}: its header")


def _with_masks(
    folder: pathlib.Path, paths: Sequence[pathlib.Path]
) -> tuple[list[pathlib.Path], dict[pathlib.Path, pathlib.Path], list[str]]:
    """The volumes, the mask of each volume that has one, and notes.

    Raises:
      InputError: a mask without a volume, a volume with two masks, or a folder of masks.
    """
    stems = {path: _name(pathlib.PurePath(path.name)) for path in paths}
    brains = [path for path in paths if _BRAIN_MASK.fullmatch(stems[path])]
    owners = {path: match[1] for path in paths if path not in brains and (match := _MASK.fullmatch(stems[path]))}
    volumes = [path for path in paths if path not in owners and path not in brains]
    masks: dict[pathlib.Path, pathlib.Path] = {}
    for path in volumes:
        for place in path.relative_to(folder).parent.parts:
            if _MASK_FOLDER.fullmatch(place):
                expected = "masks beside their volumes, such as x_seg.nii.gz beside x.nii.gz"
                found = f"lies in a folder of masks or of derived volumes ({place})"
                raise InputError(f"{path}: {found}, expected {expected}")
    for mask, owner in owners.items():
        told = [path for path in volumes if path.parent == mask.parent and owner in (stems[path], _plain(stems[path]))]
        if not told:
            raise InputError(f"{mask}: looks like a mask, expected its volume {owner}.nii.gz beside it")
        for path in told:
            if path in masks:
                raise InputError(f"{mask}: found a second mask of {path.name} beside {masks[path].name}, expected one")
            masks[path] = mask
    notes = [f"{len(brains)} NIfTI files ignored: masks of the brain"] if brains else []
    if masks and len(masks) < len(volumes):
        notes.append(f"{len(set(masks.values()))} NIfTI files ignored: masks, which only {len(masks)} volumes have")
        masks = {}
    return volumes, masks, notes


def _name(path: pathlib.PurePath) -> str:
    """A path without the suffix .nii or .nii.gz."""
    return re.sub(r"\.nii(\.gz)?$", "", path.as_posix(), flags=re.IGNORECASE)


def _plain(stem: str) -> str:
    """A file's stem without the names of sequences at its end."""
    match = _SEQUENCE.fullmatch(stem)
    return match[1] if match else stem


def _patient(path: pathlib.PurePath) -> str:
    """Whose volume a file is, by its path in the data folder."""
    subjects = _SUBJECT.findall(path.as_posix())
    if subjects:
        return subjects[-1].lower()
    stem = _plain(_name(pathlib.PurePath(path.name)))
    return path.parent.as_posix() if _NO_NAME.fullmatch(stem) else stem


def _look_once(
    path: pathlib.Path, mask: pathlib.Path | None, options: tuple[str, pathlib.Path], readers: _Readers
) -> _Look:
    """`_look`, from the cache where these very files were looked at before; the options are the plane and the cache."""
    plane, cache = options
    files = [(str(file.resolve()), file.stat()) for file in (path, mask) if file]
    status = [(name, one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for name, one in files]
    key = hashlib.sha256(repr((_LOOK_VERSION, plane, status)).encode()).hexdigest()[:32]
    kept = cache / "volumes" / f"{key}.json"
    try:
        values = read_json(kept)
        return _Look(**(values | {"kept": tuple(values["kept"])}))
    except (InputError, TypeError, KeyError):
        pass  # not there, damaged, or written by another version: looked at again
    look = _look(path, mask, readers)
    make_cache(cache)
    with foreign(f"{cache}: nothing can be kept there", CACHE_EXPECTED):
        kept.parent.mkdir(exist_ok=True)
        write_json(kept, dataclasses.asdict(look))
    return look


def _look(path: pathlib.Path, mask: pathlib.Path | None, readers: _Readers) -> _Look:
    """Which slices of a volume show a head, and what is unusual about the file."""
    from nibabel import affines

    load, fit = readers
    volume = load(path)
    voxels = volume.voxels
    sample = voxels.reshape(-1)[:: max(1, voxels.size // 1_000_000)]
    sample = sample[np.isfinite(sample)]
    values = np.unique(sample)
    if len(values) <= _FEW_VALUES and len(np.unique(voxels)) <= _FEW_VALUES:
        found = f"{len(values)} different values alone" if len(values) != 1 else "one value alone"
        raise InputError(f"{path}: holds {found}, as masks do, expected a volume of an MRI scan")
    low, high = np.percentile(sample, (1, 99.5))
    shown = (voxels > low + _HEAD_LEVEL * (high - low)).mean(axis=(1, 2)) >= _HEAD_SHARE
    if mask is not None:
        shown |= fit((path, mask)).any(axis=(1, 2))
    if not shown.any():
        raise InputError(f"{path}: no slice of the volume shows a head, expected an MRI scan of one")
    return _Look(
        kept=tuple(int(index) for index in np.flatnonzero(shown)),
        count=len(voxels),
        known=volume.known,
        tilted=bool(affines.obliquity(volume.affine).max() > _TILTED),
    )


def _fitting(load: Callable[[pathlib.Path], Volume], pair: tuple[pathlib.Path, pathlib.Path]) -> np.ndarray:
    """The mask of a volume, bool of its shape; the pair is the volume's path and the mask's.

    Raises:
      InputError: the mask is of another shape or place than the volume, or holds anything but whole numbers.
    """
    path, mask = pair
    volume, outline = load(path), load(mask)
    if outline.voxels.shape != volume.voxels.shape:
        raise InputError(f"{mask}: the mask is {outline.voxels.shape}, expected the volume's {volume.voxels.shape}")
    shift = np.abs(outline.affine - volume.affine)
    if shift[:3, :3].max() > 0.01 or shift[:3, 3].max() > 0.5 * min(volume.spacing):
        raise InputError(f"{mask}: the mask lies elsewhere than {path.name} by its affine, expected the same place")
    values = outline.voxels
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        raise InputError(f"{mask}: the mask holds fractions or NaN, expected whole numbers, 0 outside the tumour")
    return outline.voxels != 0


def _read_slice(
    readers: _Readers, paths: tuple[pathlib.Path, pathlib.Path | None], index: int, fields: dict
) -> RawSlice:
    """One slice of a volume with its mask, on square pixels."""
    load, fit = readers
    path, mask = paths
    volume = load(path)
    image, remarks = volume.voxels[index], ()
    if image.dtype.kind == "f" and np.isnan(image).any():
        image = np.where(np.isnan(image), volume.lowest, image)
        remarks = (_HOLES,)
    if not are_square(volume.spacing):
        image = square_pixels(image, volume.spacing)
        remarks += (RESAMPLED,)
    outline = None if mask is None else square_pixels(fit((path, mask))[index], volume.spacing)
    where = f"{path} (slice {index + 1})"
    return RawSlice(image=image, label=None, where=where, mask=outline, remarks=remarks, **fields)


def _notes(looks: Sequence[_Look]) -> list[str]:
    """What a user is told of the volumes."""
    counts = collections.Counter()
    counts["slices of NIfTI volumes ignored: they show no head"] = sum(look.count - len(look.kept) for look in looks)
    counts["NIfTI volumes do not tell left from right: nibabel's assumption is taken"] = sum(not o.known for o in looks)
    counts["NIfTI volumes lie tilted by more than 20 degrees: cut along their own axes"] = sum(o.tilted for o in looks)
    return [f"{count} {what}" for what, count in counts.items() if count]
