"""What picture files hold: orientation, depth, byte order, WhiteIsZero, pages, and files that are no pictures."""

import contextlib
import io
import struct
import zlib

import numpy as np
import PIL
import pytest
import tifffile
from PIL import Image, ImageCms

from btjax.base.errors import InputError
from btjax.readers.images import IMAGE_SUFFIXES, read_image
from btjax.readers.masks import read_mask
from btjax.readers.rasters import COPIES, TURNED

RAMP = (np.add.outer(4 * np.arange(24), np.arange(16)) * 2).astype(np.uint8)
"""Uint8 [24, 16] without symmetry, 16 x 16 levels."""

STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).T,
    8: lambda upright: np.rot90(upright, -1),
}
"""How an upright picture is stored under each orientation: 6 is shown after a turn of 90 degrees clockwise."""


def big_ramp():
    return np.kron(RAMP, np.ones((8, 8), np.uint8))


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


def refusal(path, read=read_image):
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


def write_png(path, values, colour_type):
    """A PNG of 16 bits by hand: big-endian lines without filter."""
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    data = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x.webp"])
def test_images_and_masks_are_turned_upright_from_all_eight_orientations(tmp_path, name, orientation):
    path, upright = tmp_path / name, big_ramp()
    options = {"x.jpg": {"quality": 95}, "x.webp": {"lossless": True}}.get(name, {})
    stored = np.ascontiguousarray(STORED[orientation](upright))
    Image.fromarray(stored).save(path, exif=exif(orientation), **options)
    found = read_image(path)
    np.testing.assert_allclose(found.pixels.astype(int), upright, atol=4 if name == "x.jpg" else 0)
    # Pillow turns TIFFs itself, where nothing is left to remark.
    assert found.remarks == (() if orientation == 1 or name == "x.tif" else (TURNED,))
    mask = np.zeros(upright.shape, bool)
    mask[8:32, 80:112] = True
    stored = np.ascontiguousarray(STORED[orientation](mask))
    Image.fromarray(stored.astype(np.uint8) * 255).save(path, exif=exif(orientation), **options)
    np.testing.assert_array_equal(read_mask(path), mask)


def test_a_deep_tiff_is_turned_upright(tmp_path):
    upright = np.arange(24.0).reshape(4, 6)
    tifffile.imwrite(tmp_path / "x.tif", STORED[6](upright), extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").pixels, upright)


def test_an_orientation_that_exif_does_not_know_means_upright(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "x.png", exif=exif(9))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").pixels, RAMP)


DEEP = {
    "uint8": np.array([[0, 1, 128], [254, 255, 7]], np.uint8),
    "int8": np.array([[-128, -1, 0], [1, 127, 7]], np.int8),
    "uint16": np.array([[0, 1, 32768], [65534, 65535, 7]], np.uint16),
    "int16": np.array([[-32768, -1, 0], [1, 32767, 7]], np.int16),
    "uint32": np.array([[0, 1, 2**31], [2**32 - 2, 2**32 - 1, 7]], np.uint32),
    "int32": np.array([[-(2**31), -1, 0], [1, 2**31 - 1, 7]], np.int32),
    "float16": np.array([[-2.5, 0, 0.25], [1, 1000, 7]], np.float16),
    "float32": np.array([[-2.5, 0, 1e-9], [1, 1e9, 7]], np.float32),
    "float64": np.array([[-2.5, 0, 1e-90], [1, 1e90, 7]], np.float64),
}


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", DEEP)
def test_tiffs_of_every_depth_and_byte_order_keep_their_values(tmp_path, kind, order, compression):
    stored = DEEP[kind]
    tifffile.imwrite(tmp_path / "x.tif", stored, byteorder=order, compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").pixels, stored)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", DEEP)
def test_white_is_zero_is_turned_so_that_dark_is_low(tmp_path, kind, order):
    stored = DEEP[kind]
    tifffile.imwrite(tmp_path / "x.tif", stored, byteorder=order, photometric="miniswhite")
    found = read_image(tmp_path / "x.tif").pixels.astype(np.float64)
    # Least is most: each level and its opposite have the same sum.
    np.testing.assert_array_equal(np.argsort(found.ravel()), np.argsort(-stored.astype(np.float64).ravel()))
    if stored.dtype.kind in "ui":
        assert len(np.unique(found + stored.astype(np.float64))) == 1
    else:
        np.testing.assert_array_equal(found, -stored.astype(np.float64))


def tiff_of(bits, rows, order, photometric, width, height):
    """An uncompressed grey TIFF by hand, of packed samples."""
    data = b"".join(rows)
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(data))]
    pack = {"II": "<", "MM": ">"}[order]
    body = struct.pack(pack + "H", len(tags))
    for tag, kind, value in tags:
        body += struct.pack(pack + "HHI", tag, kind, 1)
        body += struct.pack(pack + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
    data += b"\0" * (len(data) % 2)
    return order.encode() + struct.pack(pack + "HI", 42, 8 + len(data)) + data + body + b"\0" * 4


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["II", "MM"])
def test_tiffs_of_twelve_bits_keep_their_values_or_are_refused(tmp_path, order, photometric):
    stored = np.array([[0, 1], [2048, 4095], [4094, 7]])
    rows = [bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in stored.tolist()]
    (tmp_path / "x.tif").write_bytes(tiff_of(12, rows, order, photometric, 2, 3))
    if (order, photometric) != ("II", 1):
        assert "12-bit" in refusal(tmp_path / "x.tif")
    else:
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif").pixels, stored)


@pytest.mark.parametrize("photometric", [0, 1])
def test_a_mask_of_one_bit_may_call_white_zero(tmp_path, photometric):
    """Three lines of eight pixels; the tumour is white."""
    rows = [b"\x00", b"\x18", b"\x00"] if photometric else [b"\xff", b"\xe7", b"\xff"]
    (tmp_path / "x.tif").write_bytes(tiff_of(1, rows, "II", photometric, 8, 3))
    expected = np.zeros((3, 8), bool)
    expected[1, 3:5] = True
    np.testing.assert_array_equal(read_mask(tmp_path / "x.tif"), expected)


def test_a_tiff_of_complex_numbers_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", RAMP.astype(np.complex64))
    assert "complex64" in refusal(tmp_path / "x.tif")


def test_what_is_damaged_in_a_tiff_is_said_once_by_the_error(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "x.tif", DEEP["uint32"])
    whole = (tmp_path / "x.tif").read_bytes()
    tags = int.from_bytes(whole[4:8], "little") + 2
    damaged = bytearray(whole)
    for tag in range(tags, tags + 12 * 3, 12):  # width, length and bits become numbers of no kind
        damaged[tag + 2 : tag + 4] = b"\xff\xff"
    (tmp_path / "x.tif").write_bytes(damaged)
    with pytest.raises(InputError, match=r"x\.tif"):
        read_image(tmp_path / "x.tif")
    assert caplog.text == ""
    with contextlib.suppress(tifffile.TiffFileError), tifffile.TiffFile(tmp_path / "x.tif") as file:
        str(file.pages.first)
    assert "invalid data type 65535" in caplog.text  # to others tifffile speaks as ever


def test_deep_grey_pngs_keep_their_values(tmp_path):
    write_png(tmp_path / "x.png", DEEP["uint16"], 0)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").pixels, DEEP["uint16"])


@pytest.mark.parametrize("bands", [3, 4])
def test_grey_levels_of_twelve_bits_in_colours_of_sixteen_keep_their_depth(tmp_path, bands):
    """Their upper bytes alone would leave sixteen levels."""
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    colours = np.stack([stored] * bands, axis=-1)
    colours[..., 3:] = 65535
    write_png(tmp_path / "x.png", colours, {3: 2, 4: 6}[bands])
    tifffile.imwrite(tmp_path / "x.tif", colours, photometric="rgb", extrasamples=["unassalpha"] * (bands - 3))
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(colours, -1, 0)[:3], photometric="rgb", planarconfig=2)
    for name in ("x.png", "x.tif", "planes.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, stored)


def test_deep_grey_with_transparency_is_refused(tmp_path):
    write_png(tmp_path / "x.png", np.stack([DEEP["uint16"], DEEP["uint16"]], axis=-1), 4)
    assert "16-bit" in refusal(tmp_path / "x.png")


def test_deep_colours_of_a_ppm_are_refused(tmp_path):
    colours = np.stack([DEEP["uint16"]] * 3, axis=-1)
    (tmp_path / "x.ppm").write_bytes(b"P6 3 2 65535\n" + colours.astype(">u2").tobytes())
    assert "more than 8 bits" in refusal(tmp_path / "x.ppm")


def test_deep_greys_of_a_pgm_keep_their_values(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 3 2 65535\n" + DEEP["uint16"].astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "x.pgm").pixels, DEEP["uint16"])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_grey_in_other_colour_spaces_is_grey_or_refused_where_pillow_cannot_decode_it(tmp_path, mode):
    image = Image.fromarray(np.stack([RAMP] * 3, axis=-1))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB") or image
    image = image.convert(mode)
    image.save(tmp_path / "x.tif")
    try:
        with Image.open(tmp_path / "x.tif") as opened:
            opened.load()
    except OSError:
        assert (mode, PIL.__version__ < "13") == ("YCbCr", True)
        assert "image file is truncated" in refusal(tmp_path / "x.tif")
        return
    found = read_image(tmp_path / "x.tif")
    np.testing.assert_allclose(found.pixels.astype(int), RAMP, atol=3)
    assert found.remarks == ()


@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.png", "x.webp"])
def test_several_pictures_in_one_file_are_refused_with_their_number(tmp_path, name):
    pages = [Image.fromarray(np.roll(RAMP, 3 * page, axis=0)) for page in range(3)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    assert "holds 3" in refusal(tmp_path / name)
    assert "holds 3" in refusal(tmp_path / name, read_mask)


def test_pages_of_a_type_that_pillow_does_not_know_are_counted_too(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.arange(120.0).reshape(2, 10, 6), photometric="minisblack")
    assert "holds 2 pages" in refusal(tmp_path / "x.tif")


def test_smaller_copies_in_the_same_file_are_left_out_with_a_remark(tmp_path):
    first = Image.fromarray(big_ramp())
    first.save(tmp_path / "x.tif", save_all=True, append_images=[first.resize((64, 96)), first.resize((32, 48))])
    found = read_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(found.pixels, big_ramp())
    assert found.remarks == (COPIES,)
    upside_down = Image.fromarray(big_ramp()[::-1].copy()).resize((64, 96))
    first.save(tmp_path / "x.tif", save_all=True, append_images=[upside_down])
    assert "holds 2 pages" in refusal(tmp_path / "x.tif")


def test_a_single_frame_of_a_format_for_animations_is_a_picture(tmp_path):
    for name in ("x.gif", "x.png", "x.tif"):
        Image.fromarray(RAMP).save(tmp_path / name, save_all=True)
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, RAMP)


NO_PICTURES = {
    "an empty file": b"",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "git-annex": b"/annex/objects/SHA256E-s12345--4d7a.png\n",
    "DICOM": b"\0" * 128 + b"DICM" + b"\2\0\0\0",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(range(64)),
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
    "JPEG XL": b"\xff\x0a" + bytes(range(64)),
    "web page": b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "text": b"glioma\n",
    "zeros": bytes(600),
    "another kind": bytes(range(256)),
}


@pytest.mark.parametrize("word", NO_PICTURES)
def test_what_is_no_picture_is_called_by_its_kind(tmp_path, word):
    (tmp_path / "x.png").write_bytes(NO_PICTURES[word])
    message = refusal(tmp_path / "x.png")
    assert word in message and "expected an image" in message
    assert refusal(tmp_path / "x.png", read_mask) == message


def test_a_missing_file_and_a_link_to_one_are_told_apart(tmp_path):
    assert refusal(tmp_path / "x.png") == ": no such file"
    (tmp_path / "link.png").symlink_to(tmp_path / "x.png")
    assert "link" in refusal(tmp_path / "link.png")


def test_a_folder_called_like_a_picture_is_refused(tmp_path):
    (tmp_path / "x.png").mkdir()
    assert "directory" in refusal(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.gif", "x.bmp", "x.pgm", "x.webp", "x.jp2"])
@pytest.mark.parametrize("share", [0.15, 0.6, 0.95])
def test_a_file_cut_off_anywhere_is_refused_in_one_line(tmp_path, name, share):
    """Noise, since flat pictures can be whole without their last bytes."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 40)).astype(np.uint8)
    buffer = io.BytesIO()
    format_ = {"x.jpg": "JPEG", "x.tif": "TIFF", "x.jp2": "JPEG2000", "x.pgm": "PPM"}.get(name, name[2:].upper())
    Image.fromarray(noise).save(buffer, format_)
    whole = buffer.getvalue()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    refusal(tmp_path / name)


def test_damage_inside_a_file_ends_in_no_other_error_than_a_refusal(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    data = bytearray((tmp_path / "x.png").read_bytes())
    for place in range(8, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        (tmp_path / "y.png").write_bytes(broken)
        with contextlib.suppress(InputError):  # anything else would be a traceback for the user
            read_image(tmp_path / "y.png")


def test_a_picture_beyond_any_slice_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (8193, 8192)).save(tmp_path / "x.png")
    assert "8193 x 8192" in refusal(tmp_path / "x.png")


@pytest.mark.filterwarnings("default")
def test_a_decompression_bomb_is_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    refusal(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".jp2", ".pgm", ".pnm", ".avif", ".dib", ".tga"])
def test_pictures_of_rarer_suffixes_are_images(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    assert suffix in IMAGE_SUFFIXES
    try:
        Image.fromarray(big_ramp()).save(path)
    except (KeyError, OSError, ValueError):
        pytest.skip(f"this Pillow does not write {suffix}")
    np.testing.assert_allclose(read_image(path).pixels.astype(int), big_ramp(), atol=16)
