"""Writers of DICOM files and NIfTI volumes for tests."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs pydicom, of the extra `medical`")
nibabel = pytest.importorskip("nibabel", reason="needs nibabel, of the extra `medical`")

from pydicom import uid  # noqa: E402

from btjax.base.errors import InputError  # noqa: E402

MR = uid.MRImageStorage
AXIAL = (1, 0, 0, 0, 1, 0)
MRI = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "mri"


def mri_folder() -> pathlib.Path:
    if not MRI.is_dir():
        pytest.skip("no ../shared/data/mri: five DICOM files of a head and MNI's template")
    return MRI


def dicom(pixels: np.ndarray, syntax=uid.ExplicitVRLittleEndian, **elements) -> pydicom.Dataset:
    """A data set of integer pixels [H, W], [frames, H, W] or [H, W, 3] (RGB); None leaves an element out."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    bits = pixels.dtype.itemsize * 8
    values = {
        "SOPClassUID": MR,
        "SOPInstanceUID": uid.generate_uid(),
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "MR",
        "PatientID": "MR040240",
        "PatientName": "Doe^Jane",
        "InstanceNumber": 1,
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "Rows": pixels.shape[-3 if colour else -2],
        "Columns": pixels.shape[-2 if colour else -1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PlanarConfiguration": 0 if colour else None,
        "NumberOfFrames": len(pixels) if pixels.ndim == 3 and not colour else None,
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [1, 1],
    } | elements
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = values["SOPClassUID"]
    dataset.file_meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def write_dicom(path: pathlib.Path, pixels: np.ndarray, syntax=uid.ExplicitVRLittleEndian, **elements) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom(pixels, syntax, **elements).save_as(path, enforce_file_format=True)
    return path


def write_series(folder: pathlib.Path, images, patient: str = "MR040240", series: str = "1.2.3.4", **elements) -> None:
    """Axial slices 5 mm apart, from inferior to superior."""
    for row, image in enumerate(images):
        position = [0, 0, 5.0 * row]
        fields = {"ImagePositionPatient": position, "InstanceNumber": row + 1, "PatientID": patient} | elements
        write_dicom(folder / f"{series}.{row}.dcm", image, SeriesInstanceUID=series, **fields)


def write_nifti(path: pathlib.Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    image.set_sform(image.affine, 1)
    nibabel.save(image, path)
    return path


def refusal_of(read, folder: pathlib.Path) -> str:
    """The message of the InputError that reading raises, or "" where it gives slices."""
    try:
        read(folder)
    except InputError as error:
        return str(error)
    return ""


def head(shape, seed: int = 0) -> np.ndarray:
    """Voxels without any symmetry, all of which are bright enough to be a head."""
    return np.random.default_rng(seed).integers(100, 1000, shape).astype(np.int16)
