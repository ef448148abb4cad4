"""Files that are damaged or made to harm: one line each, and nothing allocated, run or read for them elsewhere."""

import csv
import gzip
import io
import os
import struct
import zlib

import h5py
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from btjax.base.errors import InputError
from btjax.data.sources import find_source
from btjax.readers import figshare
from btjax.readers.classes import labels_of
from btjax.readers.images import read_image
from btjax.readers.manifest import find_manifest
from btjax.readers.orientation import square_pixels
from btjax.readers.raw import RawSlice, check_folds, prepare, scale_to_uint8
from btjax.readers.walk import walk
from tests.readers import forms
from tests.readers.forms import assert_refused, mat_bytes

TINY = forms.make_slices(6)
FEW = hypothesis.settings(
    max_examples=50, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)


def png(width: int, height: int, colour: int = 0) -> bytes:
    """A PNG whose header declares a size, and whose rows are all there."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(range(250)) * (width * (1, 3)[colour == 2] // 250 + 1))[: 1 + width * (1, 3)[colour == 2]]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    pixels = zlib.compress(rows * min(height, 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n0 0 40 40 rectfill\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".tga"])
def test_no_program_is_started_for_a_picture(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: pytest.fail("a program was started"))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    (tmp_path / f"x{suffix}").write_bytes(EPS)
    with pytest.raises(InputError, match=r"x\.\w+: expected an image, found a PostScript file"):
        read_image(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("kind", ["ICO", "PSD", "IM", "SPIDER", "MSP"])
def test_formats_that_btjax_does_not_name_are_not_opened(tmp_path, kind):
    marks = {"ICO": b"\0\0\1\0", "PSD": b"8BPS\0\1", "IM": b"Image type: L\r\n", "MSP": b"DanM", "SPIDER": b"\0" * 1024}
    (tmp_path / "x.png").write_bytes(marks[kind] + bytes(2000))
    with pytest.raises(InputError, match="expected an image"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(("width", "height", "colour"), [(60000, 1, 0), (1, 60000, 0), (4097, 8, 2), (9000, 9000, 2)])
def test_long_thin_and_huge_pictures_are_refused_before_they_are_decoded(tmp_path, monkeypatch, width, height, colour):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    (tmp_path / "x.png").write_bytes(png(width, height, colour))
    with pytest.raises(InputError, match=rf"{width} x {height} pixels: found \d+ pixels a side, expected at most 4096"):
        read_image(tmp_path / "x.png")


def test_a_raised_limit_lets_a_large_picture_in(tmp_path, monkeypatch):
    monkeypatch.setenv("BTJAX_LIMIT_IMAGE_SIDE", "6000")
    (tmp_path / "x.png").write_bytes(png(5000, 8))
    assert read_image(tmp_path / "x.png").pixels.shape == (8, 5000)


def test_a_slice_that_would_be_stretched_beyond_all_bounds_is_refused():
    with pytest.raises(ValueError, match="3000 x 57000 pixels once they are square"):
        square_pixels(np.broadcast_to(np.uint8(1), (3000, 3000)), (19.0, 1.0))


def one_mat(tmp_path, **replaced):
    forms.write_mat_folder(tmp_path, TINY, folds=False)
    (tmp_path / "1.mat").write_bytes(mat_bytes(TINY[0], **replaced))
    return tmp_path


def with_declared(data: bytes, name: str, **options) -> bytes:
    """A mat file whose dataset is replaced by one that is declared alone."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        del file[f"cjdata/{name}"]
        file.create_dataset(f"cjdata/{name}", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["image", "tumorMask", "label", "PID"])
def test_a_mat_file_that_declares_what_no_slice_has_is_refused(tmp_path, name):
    data = with_declared(mat_bytes(TINY[0]), name, shape=(10**6, 10**6), dtype=np.float64, chunks=(100, 100))
    with pytest.raises(InputError, match=rf"1\.mat: cjdata/{name}: found \d+ (pixels|bytes)"):
        figshare.read_slice(data, "1.mat", "1")


def test_a_mat_file_that_takes_pixels_from_another_file_is_refused():
    data = with_declared(
        mat_bytes(TINY[0]), "image", shape=(32, 32), dtype=np.uint8, external=[("/etc/passwd", 0, 1024)]
    )
    with pytest.raises(InputError, match="cjdata/image is stored externally"):
        figshare.read_slice(data, "1.mat", "1")


MASK = TINY[0].mask.T.astype(float)


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"tumorMask": np.where(MASK > 0, np.nan, 0)}, "NaN, infinity or fractions in cjdata/tumorMask"),
        ({"tumorMask": np.where(MASK > 0, np.inf, 0)}, "NaN, infinity or fractions in cjdata/tumorMask"),
        ({"tumorMask": MASK / 2}, "NaN, infinity or fractions in cjdata/tumorMask"),
        ({"tumorMask": -MASK}, "negative numbers in cjdata/tumorMask"),
        ({"image": np.where(MASK > 0, 1.7e308, 1.0) + np.eye(32)}, r"the level 1\.7e\+308"),
        ({"image": np.where(MASK > 0, -1.7e308, 1.0) + np.eye(32)}, r"the level -1\.7e\+308"),
        ({"PID": np.full((3, 1), 32, np.uint16)}, "PID '', which names no patient"),
        ({"PID": np.array([[ord(letter)] for letter in "unknown"], np.uint16)}, "PID 'unknown'"),
        ({"PID": np.array([[65.5]])}, "expected character codes"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(tmp_path, replaced, words):
    source = find_source(one_mat(tmp_path, **replaced))
    with pytest.raises(InputError, match=rf"1\.mat: .*{words}"):
        list(source.read(_once))


def test_the_largest_levels_of_real_scanners_are_scaled_as_ever():
    levels = np.array([[0.0, 65535.0], [4294967295.0, 1e9]])
    assert scale_to_uint8(levels).tolist() == [[0, 0], [255, 59]]
    raw = RawSlice(image=np.array([[0.0, np.inf]]), label=0, id="1", where="x")
    with pytest.raises(InputError, match="x: the image holds NaN or infinity"):
        prepare(raw, 2)


@pytest.mark.parametrize("folds", [[1, 9999], [1, 2, 3, 4, 5, 7], [np.inf], [1e20], [6]])
def test_a_fold_far_above_the_others_is_refused(folds):
    with pytest.raises(InputError, match=r"found a fold .*, expected folds from 1 to"):
        check_folds(folds, "x")


def test_the_authors_five_folds_and_ten_of_other_authors_are_accepted():
    check_folds([1, 2, 3, 4, 5], "x")
    check_folds([2, 4], "x")
    check_folds(range(1, 11), "x")


@pytest.mark.parametrize("folds", [[1, 2, 9999, 1, 2, 1], [1, 2, np.inf, 1, 2, 1], [1, 2, 1e20, 1, 2, 1]])
def test_folds_of_cvind_that_are_no_folds_are_refused(tmp_path, folds):
    forms.write_mat_folder(tmp_path, TINY)
    (tmp_path / "cvind.mat").write_bytes(forms.cvind_bytes(folds))
    assert_refused(tmp_path, "cvind")


def edited_manifest(tmp_path, change):
    forms.write_manifest(tmp_path, TINY)
    with open(tmp_path / "manifest.csv", newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with open(tmp_path / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        ("author_fold", "9999", "9999"),
        ("author_fold", "inf", "'inf'"),
        ("author_fold", "1e20", "'1e20'"),
        ("author_fold", "\uff11", "author_fold"),
        ("label", "\uff12", "label"),
        ("label", "\u0662", "label"),
        ("pid", "P1\u200b", "control characters"),
        ("pid", "\u200b", "control characters"),
        ("pid", "\u00a0", "no patient"),
    ],
)
def test_cells_that_look_like_others_are_refused(tmp_path, column, value, word):
    def change(rows):
        rows[2][rows[0].index(column)] = value

    assert_refused(edited_manifest(tmp_path, change), word)


def test_headers_with_blanks_and_capitals_name_the_same_columns(tmp_path):
    def change(rows):
        names = {"pid": " Patient ID ", "author_fold": "Author Fold", "plane_derived": "plane-derived"}
        rows[0] = [names.get(name, f" {name} ") for name in rows[0]]

    source = find_source(edited_manifest(tmp_path, change))
    assert {"patient", "fold", "plane", "label"} <= source.known


def test_a_header_with_characters_that_nobody_sees_is_refused(tmp_path):
    def change(rows):
        rows[0] = [f"{name}\u200b" if name == "pid" else name for name in rows[0]]

    assert_refused(edited_manifest(tmp_path, change), "found the column")


@pytest.mark.parametrize("text", ["\uff11", "\u0661", "\u00b2", "\u2460", "\u2163"])
def test_numbers_in_other_digits_are_no_labels(text):
    for cells in ([text, "2"], [text, "glioma"], [text, text]):
        with pytest.raises(InputError):
            labels_of(cells, ["a", "b"])


def test_a_name_in_letters_of_full_width_is_the_same_name():
    assert labels_of(["\uff47\uff4c\uff49\uff4f\uff4d\uff41", "glioma", "pituitary"], ["a", "b", "c"])[0] == [0, 0, 1]


def test_a_manifest_beyond_its_limit_is_refused(tmp_path):
    folder = forms.write_manifest(tmp_path, TINY)
    os.truncate(folder / "manifest.csv", 1 << 34)
    with pytest.raises(InputError, match=r"manifest\.csv: found 17179869184 bytes"):
        find_manifest(folder, walk(folder))


def test_a_zip_with_a_name_of_thousands_of_digits_is_one_line(tmp_path):
    import zipfile

    forms.write_zips(tmp_path, TINY, names=("a.zip",))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("1" * 5000 + ".mat", b"x")
    assert_refused(tmp_path, "expected files named N.mat")


def damaged(data: bytes, places, cut: int | None) -> bytes:
    changed = bytearray(data)
    for place, value in places:
        changed[place % len(changed)] ^= value
    return bytes(changed if cut is None else changed[: cut % (len(changed) + 1)])


DAMAGE = {
    "places": st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), max_size=4),
    "cut": st.none() | st.integers(0, 1 << 20),
}


def check_reads_or_refuses(read) -> None:
    try:
        raw = read()
    except InputError:
        return
    image, _ = prepare(raw, 32) if raw is not None else (np.zeros((32, 32), np.uint8), None)
    assert image.shape == (32, 32) and image.dtype == np.uint8


@FEW
@hypothesis.given(**DAMAGE)
def test_damaged_mat_files_give_slices_or_one_line(places, cut):
    data = damaged(mat_bytes(TINY[0]), places, cut)
    with np.errstate(all="ignore"):
        check_reads_or_refuses(lambda: _prepared(lambda: figshare.read_slice(data, "1.mat", "1")))


def _prepared(read):
    raw = read()
    prepare(raw, 32)
    return raw


@FEW
@hypothesis.given(kind=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "TGA", "PCX"]), **DAMAGE)
@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures_give_slices_or_one_line(tmp_path, kind, places, cut):
    buffer = io.BytesIO()
    Image.fromarray(np.add.outer(np.arange(40), 3 * np.arange(40)).astype(np.uint8)).save(buffer, kind)
    path = tmp_path / "x.png"
    path.write_bytes(damaged(buffer.getvalue(), places, cut))
    check_reads_or_refuses(
        lambda: _prepared(lambda: RawSlice(image=read_image(path).pixels, label=0, id="x", where="x"))
    )


@FEW
@hypothesis.given(**DAMAGE)
def test_damaged_zips_give_slices_or_one_line(tmp_path_factory, places, cut):
    folder = tmp_path_factory.mktemp("zip")
    forms.write_zips(folder, TINY[:2], names=("a.zip",), folds=False)
    (folder / "a.zip").write_bytes(damaged((folder / "a.zip").read_bytes(), places, cut))
    check_reads_or_refuses(lambda: next(iter([*find_source(folder).read(_once)]), None))


def _once(raw):
    prepare(raw, 32)
    return raw


@FEW
@hypothesis.given(**DAMAGE)
def test_damaged_manifests_give_slices_or_one_line(tmp_path_factory, places, cut):
    folder = forms.write_manifest(tmp_path_factory.mktemp("manifest"), TINY)
    data = (folder / "manifest.csv").read_bytes()
    (folder / "manifest.csv").write_bytes(damaged(data, places, cut))
    check_reads_or_refuses(lambda: next(iter([*find_source(folder).read(_once)]), None))


def test_volumes_and_masks_beyond_all_bounds_are_refused(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs nibabel, of the extra `medical`")
    from btjax.readers.nifti import find_volumes, read_volume

    voxels = np.random.default_rng(0).integers(100, 1000, (8, 9, 10)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "x.nii")
    whole = (tmp_path / "x.nii").read_bytes()
    for place, value, words in (
        (40, struct.pack("<4h", 3, 30000, 30000, 30000), "found 27000000000000 voxels"),
        (40, struct.pack("<4h", 3, 5000, 2, 2), "found 5000 pixels a side"),
        (108, struct.pack("<f", 3e9), "its header: found 3000000000 bytes"),
        (108, struct.pack("<f", np.nan), "begin at byte nan"),
    ):
        data = whole[:place] + value + whole[place + len(value) :]
        (tmp_path / "y.nii").write_bytes(data)
        (tmp_path / "y.nii.gz").write_bytes(gzip.compress(data))
        for name in ("y.nii", "y.nii.gz"):
            with pytest.raises(InputError, match=words):
                read_volume(tmp_path / name)
    folder = tmp_path / "masked"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / "x.nii")
    nibabel.save(nibabel.Nifti1Image(np.where(voxels > 900, np.inf, 0), np.eye(4)), folder / "x_seg.nii")
    with pytest.raises(InputError, match="the mask holds fractions or NaN"):
        find_volumes(folder, sorted(folder.iterdir()), b"0" * 32, cache_dir=tmp_path / "cache")


def test_dicom_files_beyond_all_bounds_are_refused(tmp_path):
    pytest.importorskip("pydicom", reason="needs pydicom, of the extra `medical`")
    from pydicom import uid

    from btjax.readers.dicom_header import open_dicom, read_frames
    from tests.readers.medical_forms import write_dicom

    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    with pytest.raises(InputError, match="found 60000 pixels a side"):
        read_frames(write_dicom(tmp_path / "rows.dcm", pixels, Rows=60000))
    with pytest.raises(InputError, match="found 2000000000 frames"):
        read_frames(write_dicom(tmp_path / "frames.dcm", pixels, NumberOfFrames=2000000000))
    deflated = write_dicom(tmp_path / "deflated.dcm", pixels, uid.DeflatedExplicitVRLittleEndian)
    assert isinstance(read_frames(deflated), list)
    data = deflated.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join([packer.compress(b"\0" * (1 << 20)) for _ in range(257)]) + packer.flush()
    deflated.write_bytes(data[:start] + bomb)
    with pytest.raises(InputError, match="its dataset, unpacked: found"):
        open_dicom(deflated)
