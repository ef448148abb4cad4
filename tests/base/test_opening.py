import os
import socket

import pytest

from btjax.base.errors import InputError
from btjax.base.opening import check_regular, open_regular, read_regular


def test_a_file_and_a_link_to_it_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    os.symlink("a", tmp_path / "link")
    assert read_regular(tmp_path / "a", "json") == read_regular(tmp_path / "link", "json") == b"abc"
    check_regular(tmp_path / "a", "json")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: found a pipe, expected a regular file"):
        open_regular(tmp_path / "pipe", "json")


def test_a_device_is_refused():
    with pytest.raises(InputError, match="/dev/zero: found a device"):
        read_regular("/dev/zero", "json")


def test_folders_and_sockets_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket may have some hundred letters at most
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("x")
        for path in ("x", "."):
            with pytest.raises((InputError, OSError)):
                open_regular(path, "json")


def test_a_file_beyond_its_limit_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "big", "wb") as file:
        file.truncate(1 << 40)  # sparse: nothing is written
    with pytest.raises(InputError, match="big: found 1099511627776 bytes, expected at most"):
        read_regular(tmp_path / "big", "slice_file")


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none", "json")
