"""DICOM files as data folders: pixels, order, names, and what is ignored or refused."""

import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("pydicom", reason="needs pydicom, of the extra `medical`")

import pydicom
from pydicom import uid

from btjax.base.errors import InputError
from btjax.data.sources import find_source
from btjax.readers.medical import MedicalOptions
from btjax.readers.orientation import turn_of
from btjax.readers.raw import scale_to_uint8
from tests.readers.medical_forms import dicom, head, mri_folder, refusal_of, write_dicom, write_series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


def read(folder, **options):
    return list(find_source(folder, labelled=False, options=MedicalOptions(**options)).read())


def refusal(folder, labelled=False, **options) -> str:
    with pytest.raises(InputError) as caught:
        list(find_source(folder, labelled=labelled, options=MedicalOptions(**options)).read())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_are_those_after_slope_and_intercept(tmp_path):
    stored = head((6, 8))
    write_dicom(tmp_path / "a.dcm", stored, RescaleSlope="2", RescaleIntercept="-1000")
    np.testing.assert_array_equal(read(tmp_path)[0].image, stored * 2.0 - 1000)
    write_dicom(tmp_path / "a.dcm", stored, RescaleSlope="0", RescaleIntercept="-1000")
    assert "a.dcm" in refusal(tmp_path) and "slope of 0" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [".dcm", ".DCM", ".ima", ".dicom", "", ".1762583153.215519"])
def test_files_are_known_by_suffix_or_by_their_first_bytes(tmp_path, suffix):
    write_dicom(tmp_path / f"IM0001{suffix}", head((6, 8)))
    (tmp_path / "LICENSE").write_text("x" * 200)
    source = find_source(tmp_path, labelled=False)
    assert len(source) == 1
    assert source.notes == ("ignored: 1 file of other kinds (LICENSE)",)


def test_a_file_without_preamble_is_read_where_its_suffix_says_what_it_is(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", head((6, 8)), uid.ImplicitVRLittleEndian)
    dataset = pydicom.dcmread(path)
    del dataset.file_meta, dataset.preamble
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read(tmp_path)[0].image, head((6, 8)))


def test_a_series_is_in_the_order_of_positions_whatever_names_and_numbers_say(tmp_path):
    rng = np.random.default_rng(3)
    count = 12
    names, numbers = rng.permutation(count), rng.permutation(count)
    tilt = (1, 0, 0, 0, np.cos(0.3), np.sin(0.3))
    normal = np.cross(tilt[:3], tilt[3:])
    for row in range(count):
        fields = {"ImagePositionPatient": [*(normal * 5 * (row - 6) + [3, -7, 2])], "InstanceNumber": numbers[row]}
        image = np.full((4, 4), row, np.uint16) + np.eye(4, dtype=np.uint16)
        write_dicom(tmp_path / f"{names[row]}.dcm", image, ImageOrientationPatient=[*tilt], **fields)
    raws = read(tmp_path)
    assert [raw.image.min() for raw in raws] == list(range(count))
    assert [raw.id for raw in raws] == [f"{row + 1:04}" for row in range(count)]
    assert {raw.plane for raw in raws} == {"axial"}


def test_instance_numbers_order_a_series_without_positions_and_that_is_said(tmp_path):
    for name, number in (("a", 10), ("b", 9), ("c", 11)):
        fields = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "InstanceNumber": number}
        write_dicom(tmp_path / f"{name}.dcm", np.eye(4, dtype=np.uint16) + number, **fields)
    assert [raw.image.min() for raw in read(tmp_path)] == [9, 10, 11]
    notes = find_source(tmp_path, labelled=False).notes
    assert "3 DICOM slices have no position: ordered by InstanceNumber" in notes
    assert "plane" not in find_source(tmp_path, labelled=False).known


def test_two_series_of_a_folder_keep_their_slices_apart(tmp_path):
    write_series(tmp_path / "p", [head((4, 4), 1), head((4, 4), 2)], series="1.9", SeriesNumber=3)
    write_series(tmp_path / "p", [head((4, 4), 3)], series="1.8", SeriesNumber=10)
    write_series(tmp_path / "p", [head((4, 4), 4)], series="1.7", SeriesNumber=10)
    ids = [raw.id for raw in read(tmp_path)]
    assert ids == ["p/series003/0001", "p/series003/0002", "p/series010-1/0001", "p/series010-2/0001"]


def functional_group(row, **extra):
    frame = pydicom.Dataset()
    groups = {"PlanePositionSequence": {"ImagePositionPatient": [0, 0, [10.0, 0.0, 5.0][row]]}} | extra
    for name, values in groups.items():
        item = pydicom.Dataset()
        for key, value in values.items():
            setattr(item, key, value)
        setattr(frame, name, [item])
    return frame


def enhanced(volume):
    shared = functional_group(
        0,
        PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        PixelMeasuresSequence={"PixelSpacing": [1, 1]},
    )
    del shared.PlanePositionSequence
    scale = [
        {"PixelValueTransformationSequence": {"RescaleSlope": row + 1, "RescaleIntercept": -row}} for row in range(3)
    ]
    return dicom(
        volume,
        SOPClassUID=uid.EnhancedMRImageStorage,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[functional_group(row, **scale[row]) for row in range(3)],
    )


@pytest.mark.parametrize("syntax", [None, uid.RLELossless, uid.JPEG2000Lossless])
def test_every_frame_is_a_slice_in_the_order_of_positions_with_its_own_slope(tmp_path, syntax):
    volume = head((3, 64, 70))
    dataset = enhanced(volume)
    if syntax:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(tmp_path / "multi", enforce_file_format=True)
    raws = read(tmp_path)
    for raw, row in zip(raws, (1, 2, 0), strict=True):
        np.testing.assert_array_equal(raw.image, volume[row] * (row + 1.0) - row)
        assert raw.where.endswith(f"(frame {row + 1})")


def test_frames_without_positions_stay_in_the_order_of_the_file(tmp_path):
    volume = head((11, 4, 4))
    write_dicom(tmp_path / "a.dcm", volume)
    for raw, image in zip(read(tmp_path), volume, strict=True):
        np.testing.assert_array_equal(raw.image, image)


@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.sampled_from(["axial", "coronal", "sagittal"]),
)
def test_a_turn_leads_to_the_same_picture_from_any_storage(order, signs, plane):
    """The coordinates of every pixel: turned, they grow as the plane's axes say."""
    across, down = np.eye(3)[order[0]] * signs[0], np.eye(3)[order[1]] * signs[1]
    rows, columns = np.mgrid[:3, :4]
    points = rows[..., None] * down + columns[..., None] * across
    turn = turn_of(across, down)
    x, y, z = np.moveaxis(np.stack([turn(points[..., axis]) for axis in range(3)], -1), -1, 0)
    right, downward = {"axial": (x, y), "coronal": (x, -z), "sagittal": (y, -z)}[turn.plane]
    assert (np.diff(right, axis=1) == 1).all() and (np.diff(downward, axis=0) == 1).all()
    assert (np.diff(right, axis=0) == 0).all() and (np.diff(downward, axis=1) == 0).all()
    assert turn.normal == {"axial": (0, 0, 1), "coronal": (0, 1, 0), "sagittal": (-1, 0, 0)}[turn.plane]


def test_slices_stored_otherwise_are_turned_to_radiological_orientation_and_that_is_said(tmp_path):
    image = head((6, 8))
    write_dicom(tmp_path / "a.dcm", image[::-1, ::-1].T.copy(), ImageOrientationPatient=[0, -1, 0, -1, 0, 0])
    np.testing.assert_array_equal(read(tmp_path)[0].image, image)
    assert read(tmp_path)[0].remarks == ("turned to radiological orientation",)


def test_pixels_that_are_not_square_become_so(tmp_path):
    image = np.repeat(np.arange(8, dtype=np.uint16)[None] * 100, 6, 0)
    write_dicom(tmp_path / "a.dcm", image, PixelSpacing=[2, 1])
    (raw,) = read(tmp_path)
    assert raw.image.shape == (12, 8)
    np.testing.assert_array_equal(raw.image, np.repeat(image[:1], 12, 0))
    assert raw.remarks == ("resampled to square pixels",)
    write_dicom(tmp_path / "a.dcm", image.T.copy(), PixelSpacing=[1, 3], ImageOrientationPatient=[0, 1, 0, 1, 0, 0])
    assert read(tmp_path)[0].image.shape == (18, 8)
    write_dicom(tmp_path / "a.dcm", image, PixelSpacing=[100, 1])
    assert "a.dcm: found the pixel spacing 100 x 1" in refusal(tmp_path)


def test_padding_becomes_the_lowest_measured_value(tmp_path):
    image = head((6, 8))
    stored = image.copy()
    stored[:2] = -2000
    write_dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=-2000)
    expected = np.where(stored == -2000, image[2:].min(), image)
    np.testing.assert_array_equal(read(tmp_path)[0].image, expected)
    inverted = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": -2000}
    write_dicom(tmp_path / "a.dcm", stored, **inverted)
    inner = read(tmp_path)[0].image
    assert (inner[:2] == inner[2:].min()).all()
    np.testing.assert_array_equal(inner[2:] - inner[2:].min(), image[2:].max() - image[2:])


def test_padding_of_zero_below_a_magnitude_stays_zero(tmp_path):
    image = head((6, 8))
    image[:2] = 0
    write_dicom(tmp_path / "a.dcm", image, PixelPaddingValue=0)
    np.testing.assert_array_equal(read(tmp_path)[0].image, image)


def test_a_window_clips_only_where_it_is_asked_for(tmp_path):
    image = np.arange(64, dtype=np.uint16).reshape(8, 8) * 10
    write_dicom(tmp_path / "a.dcm", image, WindowCenter="300.5", WindowWidth="201")
    np.testing.assert_array_equal(read(tmp_path)[0].image, image)
    windowed = scale_to_uint8(read(tmp_path, window="file")[0].image).astype(int)
    np.testing.assert_allclose(windowed, scale_to_uint8(np.clip(image, 200, 400)), atol=1)
    write_dicom(tmp_path / "a.dcm", image)
    assert "no window" in refusal(tmp_path, window="file")


def test_colours_become_grey_by_luma(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    write_dicom(tmp_path / "a.dcm", colours)
    np.testing.assert_allclose(read(tmp_path)[0].image, np.asarray(Image.fromarray(colours).convert("L")), atol=1)


def test_a_makers_own_object_is_ignored_and_a_cut_off_uid_is_refused(tmp_path):
    write_series(tmp_path, [head((4, 4))])
    private = {"SOPClassUID": "1.3.12.2.1107.5.9.1", "Rows": None, "Columns": None}
    path = write_dicom(tmp_path / "raw", head((4, 4)), **private)
    notes = find_source(tmp_path, labelled=False).notes
    assert notes == ("1 DICOM files ignored: objects of a private kind without a slice",)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x08\x00\x16\x00UI") + 16])
    assert "raw: " in refusal(tmp_path)


def test_what_holds_no_slice_is_ignored_with_count_and_reason(tmp_path):
    write_series(tmp_path, [head((4, 4), 1), head((4, 4), 2)])
    for name, kind in (
        ("sr", uid.BasicTextSRStorage),
        ("rt", uid.RTStructureSetStorage),
        ("seg", uid.SegmentationStorage),
        ("DICOMDIR", uid.MediaStorageDirectoryStorage),
    ):
        write_dicom(tmp_path / name, head((4, 4)), SOPClassUID=kind)
    scout = {"SeriesInstanceUID": "1.5"}
    write_dicom(tmp_path / "l1", head((4, 4)), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **scout)
    write_dicom(tmp_path / "l2", head((4, 4)), SeriesDescription="3-plane_loc", **scout)
    write_dicom(tmp_path / "m", head((4, 4)), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], SeriesInstanceUID="1.6")
    source = find_source(tmp_path, labelled=False)
    assert len(source) == 2
    assert source.notes == (
        "1 DICOM files ignored: Basic Text SR objects without a slice",
        "1 DICOM files ignored: RT Structure Set objects without a slice",
        "1 DICOM files ignored: Segmentation objects without a slice",
        "1 DICOM files ignored: indexes (DICOMDIR)",
        "2 DICOM files ignored: localizers (scouts)",
        "1 DICOM files ignored: mosaics of many slices in one image",
    )
    for path in tmp_path.glob("*.dcm"):
        path.unlink()
    assert "no slice of a head" in refusal(tmp_path)


def test_copies_are_read_once_and_images_that_are_no_mr_are_named(tmp_path):
    write_series(tmp_path / "a", [head((4, 4))], SOPClassUID=uid.CTImageStorage, SOPInstanceUID="1.2.3.9")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "copy").write_bytes(next((tmp_path / "a").iterdir()).read_bytes())
    source = find_source(tmp_path, labelled=False)
    assert len(source) == 1
    assert "1 slices are no MR images: CT Image" in source.notes
    assert "1 DICOM files ignored: copies of another file here" in source.notes


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path, share):
    write_series(tmp_path, [head((16, 16))])
    path = write_dicom(tmp_path / "broken.dcm", head((16, 16)), SeriesInstanceUID="1.7")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "broken.dcm" in refusal(tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_is_refused_by_name_or_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    dataset = dicom(head((64, 64)))
    dataset.compress(uid.RLELossless if seed % 2 else uid.JPEG2000Lossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "broken.dcm", enforce_file_format=True)
    data = bytearray((tmp_path / "broken.dcm").read_bytes())
    for place in rng.integers(132, len(data), 40):
        data[place] = rng.integers(256)
    (tmp_path / "broken.dcm").write_bytes(bytes(data))
    message = refusal_of(read, tmp_path)
    assert "\n" not in message and (not message or str(tmp_path) in message)


def test_other_files_called_dcm_are_refused_by_name(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"this is no DICOM file" * 40)
    assert "a.dcm" in refusal(tmp_path)


def test_a_transfer_syntax_without_a_decoder_is_named(tmp_path, monkeypatch):
    dataset = dicom(head((4, 4)))
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert "MPEG2 Main Profile" in refusal(tmp_path)
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    dataset.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    message = refusal(tmp_path)
    assert "JPEG-LS Lossless" in message and "pip install btjax[medical]" in message


def test_the_real_series_has_plain_pydicoms_pixels_in_order_of_position(tmp_path):
    paths = sorted(mri_folder().glob("*.dcm"))
    for name, path in zip("dbeca", paths, strict=True):
        (tmp_path / f"{name}.dcm").symlink_to(path)
    raws = read(tmp_path)
    for raw, path in zip(raws, paths, strict=True):  # the files' numbers rise with z here
        dataset = pydicom.dcmread(path)
        np.testing.assert_array_equal(raw.image, dataset.pixel_array)
        # By hand: rows lead to the patient's left, columns to the back: right on the left, anterior up.
        assert dataset.ImageOrientationPatient[0] == 1 and dataset.ImageOrientationPatient[4] > 0.9
        assert raw.plane == "axial"


def test_pydicoms_own_test_files_are_read_or_refused_in_one_line(tmp_path):
    """Files of many scanners and toolkits, some broken on purpose; each must give finite pixels or one line."""
    known = sorted((pathlib.Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
    if not known:
        pytest.skip("this pydicom comes without test files")
    count = 0
    for number, path in enumerate(known):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.dcm").symlink_to(path)
        message = refusal_of(read, folder)
        assert "\n" not in message and (not message or str(folder) in message)
        if not message:
            count += 1
            assert all(raw.image.ndim == 2 and np.isfinite(raw.image).all() for raw in read(folder))
    assert count > 30
