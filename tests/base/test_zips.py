import zipfile

import pytest

from btjax.base.errors import InputError
from btjax.base.zips import open_zip, read_member

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def write(path, content=b"0123456789" * 1000, method=zipfile.ZIP_DEFLATED, name="1.mat"):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)
    return path


def edit(path, change):
    data = bytearray(path.read_bytes())
    change(data, data.find(b"PK\x01\x02"))
    path.write_bytes(bytes(data))
    return path


def read(path, limit="slice_file"):
    with open_zip(path) as archive:
        return read_member(archive, "1.mat", str(path), limit)


@pytest.mark.parametrize("method", METHODS)
def test_members_are_read_whole_whatever_packs_them(tmp_path, method):
    content = bytes(range(256)) * 9000
    assert read(write(tmp_path / "a.zip", content, method)) == content


@pytest.mark.parametrize("method", METHODS)
def test_a_member_larger_than_its_limit_is_refused(tmp_path, monkeypatch, method):
    monkeypatch.setenv("BTJAX_LIMIT_SLICE_FILE", "9999")
    with pytest.raises(InputError, match=r"a\.zip: 1\.mat in it: found 10000 bytes, expected at most 9999"):
        read(write(tmp_path / "a.zip", method=method))


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_member_that_holds_more_than_it_declares_is_refused(tmp_path, method):
    def lie(data, central):
        data[central + 24 : central + 28] = (50).to_bytes(4, "little")
        data[22:26] = (50).to_bytes(4, "little")

    with pytest.raises(InputError, match=r"a\.zip"):
        read(edit(write(tmp_path / "a.zip", method=method), lie))


def later_version(data, central):
    data[central + 6] = 255


def bad_name(data, central):
    data[central + 9] |= 8
    data[central + 46] = 0xFF


@pytest.mark.parametrize("change", [later_version, bad_name])
def test_a_zip_of_a_later_version_or_with_a_name_that_is_no_text_is_one_line(tmp_path, change):
    with pytest.raises(InputError, match=r"a\.zip: is not a complete zip"):
        open_zip(edit(write(tmp_path / "a.zip"), change))


@pytest.mark.parametrize("method", METHODS[1:])
def test_damaged_content_is_one_line(tmp_path, method):
    def damage(data, central):
        data[45:60] = bytes(byte ^ 0x5A for byte in data[45:60])

    with pytest.raises(InputError, match=r"a\.zip: (cannot read )?1\.mat in it"):
        read(edit(write(tmp_path / "a.zip", bytes(range(256)) * 40, method), damage))


def test_a_list_of_files_beyond_its_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("BTJAX_LIMIT_ZIP_LIST", "40")
    with pytest.raises(InputError, match="the list of its files"):
        open_zip(write(tmp_path / "a.zip"))
