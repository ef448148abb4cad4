"""A real slice as DICOM in every encoding that scanners and archives use: its pixels come back."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pydicom", reason="needs pydicom, of the extra `medical`")

import pydicom
from pydicom import uid

from btjax.data.raw import scale_to_uint8
from btjax.data.sources import find_source
from tests.data.medical_forms import dicom, write_dicom


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def slice_of_cheng(real_slices_dir):
    """A real slice, 12 bits in 16, of odd shape."""
    pixels = np.asarray(Image.open(sorted((real_slices_dir / "images").iterdir())[7]).convert("L"))
    return pixels[:201, 3:].astype(np.uint16) * 13 + 5


def big_endian(path, pixels):
    write_dicom(path, pixels, uid.ExplicitVRBigEndian)


def implicit(path, pixels):
    write_dicom(path, pixels, uid.ImplicitVRLittleEndian)


def deflated(path, pixels):
    write_dicom(path, pixels, uid.DeflatedExplicitVRLittleEndian)


def monochrome1(path, pixels):
    write_dicom(path, 4095 - pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)


def signed(path, pixels):
    write_dicom(path, pixels.astype(np.int16) - 1024, RescaleSlope="0.5", RescaleIntercept="512")


def signed_12_bits(path, pixels):
    stored = (pixels.astype(np.int16) - 2048) & 0x0FFF
    write_dicom(path, stored.astype(np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=1)


def compressed(syntax):
    def write(path, pixels):
        dataset = dicom(pixels)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)

    return write


def jpeg_lossless(path, pixels):
    gdcm = pytest.importorskip("gdcm", reason="needs an encoder of lossless JPEG")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(write_dicom(path.with_suffix(".plain"), pixels)))
    assert reader.Read()
    path.with_suffix(".plain").unlink()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1


def palette(path, pixels):
    """Grey values as numbers into a palette of 256 greys in disorder."""
    order = np.random.default_rng(0).permutation(256)
    stored = np.argsort(order)[(pixels - 5) // 13].astype(np.uint8)
    colours = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        colours[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        colours[f"{name}PaletteColorLookupTableData"] = (order.astype("<u2") * 257).tobytes()
    write_dicom(path, stored, **colours)


def rgb(path, pixels):
    write_dicom(path, np.repeat(((pixels - 5) // 13).astype(np.uint8)[..., None], 3, -1))


@pytest.mark.parametrize(
    "write",
    [
        write_dicom,
        implicit,
        big_endian,
        deflated,
        monochrome1,
        signed,
        signed_12_bits,
        pytest.param(compressed(uid.RLELossless), id="rle"),
        pytest.param(compressed(uid.JPEGLSLossless), id="jpeg_ls"),
        pytest.param(compressed(uid.JPEG2000Lossless), id="jpeg_2000"),
        jpeg_lossless,
        palette,
        rgb,
    ],
)
def test_a_real_slice_has_the_same_pixels_in_every_encoding(tmp_path, slice_of_cheng, write):
    write(tmp_path / "scan.dcm", slice_of_cheng)
    (raw,) = find_source(tmp_path, labelled=False).read()
    np.testing.assert_array_equal(scale_to_uint8(raw.image), scale_to_uint8(slice_of_cheng))
