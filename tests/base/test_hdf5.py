import zlib

import h5py
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.base.hdf5 import child, open_hdf5, read_numbers, texts

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


def write(tmp_path, make):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    return tmp_path / "a.h5"


def read(path, name="x", limit="array"):
    with open_hdf5(path, "a.h5") as file:
        return read_numbers(child(file, name, "a.h5"), "a.h5", limit)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (2, 2)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"chunks": (2, 2), "compression": "gzip", "compression_opts": 9},
    ],
)
def test_numbers_of_the_file_itself_are_read(tmp_path, options):
    path = write(tmp_path, lambda file: file.create_dataset("g/x", data=NUMBERS, **options))
    np.testing.assert_array_equal(read(path, "g/x"), NUMBERS)
    np.testing.assert_array_equal(read(path.read_bytes(), "g/x"), NUMBERS)


def virtual(file):
    layout = h5py.VirtualLayout((3, 4), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 4))
    file.create_virtual_dataset("x", layout)


def external(file):
    file.create_dataset("x", (3, 4), np.uint8, external=[("/etc/passwd", 0, 12)])


def linked_out(file):
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def linked(file):
    file["y"] = NUMBERS
    file["x"] = h5py.SoftLink("/y")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (virtual, "x is virtual"),
        (external, "x is stored externally"),
        (linked_out, "an external link at x"),
        (linked, "a soft link at x"),
    ],
)
def test_numbers_from_elsewhere_are_refused(tmp_path, make, words):
    with pytest.raises(InputError, match=rf"a\.h5: (found )?{words}, expected the numbers in the file itself"):
        read(write(tmp_path, make))


def test_a_link_on_the_way_to_a_dataset_is_refused(tmp_path):
    def make(file):
        file["real/x"] = NUMBERS
        file["g"] = h5py.SoftLink("/real")

    with pytest.raises(InputError, match="a soft link at g"):
        read(write(tmp_path, make), "g/x")


@pytest.mark.parametrize(
    ("shape", "chunks"), [((10**6, 10**6), (1000, 1000)), ((5000, 5000), (100, 100)), ((4, 4), (9000, 9000))]
)
def test_sizes_are_refused_as_they_are_declared(tmp_path, shape, chunks):
    def make(file):
        file.create_dataset("x", shape, np.uint8, maxshape=(None, None), chunks=chunks, compression="gzip")

    with pytest.raises(InputError, match="expected at most 16777216"):
        read(write(tmp_path, make))


def test_a_chunk_that_unpacks_to_more_than_it_declares_is_refused(tmp_path):
    def make(file):
        x = file.create_dataset("x", (2000, 1000), np.uint8, chunks=(2000, 1000), compression="gzip")
        x.id.write_direct_chunk((0, 0), zlib.compress(b"\0" * (64 << 20)))

    with pytest.raises(InputError, match="x has a chunk of more than the 2000000 bytes"):
        read(write(tmp_path, make))


def test_many_tiny_chunks_are_refused(tmp_path):
    with pytest.raises(InputError, match="found 1000000 chunks"):
        read(write(tmp_path, lambda file: file.create_dataset("x", (1000, 1000), np.uint8, chunks=(1, 1))))


@pytest.mark.parametrize("value", ["text", [b"abc", b"d"], h5py.Empty("f")])
def test_what_is_no_number_is_refused(tmp_path, value):
    with pytest.raises(InputError, match="expected numbers"):
        read(write(tmp_path, lambda file: file.create_dataset("x", data=value)))


def test_a_filter_beyond_the_common_ones_is_refused(tmp_path):
    with pytest.raises(InputError, match="is packed by the filters"):
        read(write(tmp_path, lambda file: file.create_dataset("x", data=NUMBERS.astype(int), scaleoffset=0)))


def test_texts_are_read_and_others_refused(tmp_path):
    def make(file):
        file.attrs["good"] = ["a", "\u00e9"]
        file.attrs["bytes"] = [b"a", b"b"]
        file.attrs["scalar"] = 5
        file.attrs["numbers"] = [1, 2]
        file.attrs["odd"] = np.array([b"\xff"])

    with open_hdf5(write(tmp_path, make), "a.h5") as file:
        assert texts(file, "good", "a.h5") == ["a", "\u00e9"]
        assert texts(file, "bytes", "a.h5") == ["a", "b"]
        for name in ("scalar", "numbers", "odd", "absent"):
            with pytest.raises(InputError, match=f"{name}.*expected a list of texts"):
                texts(file, name, "a.h5")
