"""Downloads from a server on this machine."""

import hashlib
import http.server
import pathlib
import re
import subprocess
import sys
import threading

import pytest

from btjax.base.errors import InputError
from btjax.data import download
from btjax.data.download import RemoteFile, fetch, fetch_all
from tests.readers import forms

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content` with ranges, breaking off after `server.stop_after` bytes of each answer."""

    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        if self.server.status:
            self.send_response(self.server.status)
            self.end_headers()
            return
        content, start = self.server.content, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.server.ranges:
            start = int(asked[1])
            if start >= len(content):
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.stop_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.requests, server.ranges, server.stop_after, server.status = CONTENT, [], True, None, None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def remote(server, **changes):
    url = f"http://127.0.0.1:{server.server_port}/file"
    return RemoteFile(**({"name": "file.zip", "url": url, "size": len(CONTENT), "sha256": SHA256} | changes))


def refusal(*args) -> str:
    with pytest.raises(InputError) as caught:
        fetch(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_arrives_whole_and_leaves_no_part(server, tmp_path):
    calls = []
    path = fetch(remote(server), tmp_path, lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]
    assert calls[-1] == ("file.zip", len(CONTENT), len(CONTENT))
    assert server.requests == [None]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.stop_after = 1000
    message = refusal(remote(server), tmp_path)
    assert "3000 bytes are kept" in message
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT[:3000]
    assert not (tmp_path / "file.zip").exists()
    server.stop_after, server.requests = None, []
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=3000-"]


def test_a_server_without_ranges_makes_it_start_again(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:3000])
    server.ranges = False
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_a_whole_part_of_unknown_size_is_recognised(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert fetch(remote(server, size=None), tmp_path).read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


def test_a_file_that_is_there_and_right_is_not_fetched(server, tmp_path):
    (tmp_path / "file.zip").write_bytes(CONTENT)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("content", [CONTENT[:-1], b"\1" + CONTENT[1:]])
def test_another_file_of_that_name_is_left_alone(server, tmp_path, content):
    (tmp_path / "file.zip").write_bytes(content)
    assert "file.zip: found" in refusal(remote(server), tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == content
    assert server.requests == []


def test_wrong_bytes_are_removed(server, tmp_path):
    server.content = b"\1" + CONTENT[1:]
    assert SHA256 in refusal(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_too_long_is_removed(server, tmp_path):
    server.content = CONTENT + b"more"
    assert f"expected {len(CONTENT)}" in refusal(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [202, 403, 404, 500])
def test_another_answer_of_the_server_is_told(server, tmp_path, status):
    server.status = status
    assert str(status) in refusal(remote(server), tmp_path)
    assert not (tmp_path / "file.zip").exists()


def test_a_server_that_is_not_there_is_told(tmp_path):
    file = RemoteFile("x", "http://127.0.0.1:9/x")
    assert "http://127.0.0.1:9/x" in refusal(file, tmp_path)


def test_a_file_without_a_hash_is_checked_by_its_contents(server, tmp_path):
    server.content = forms.cvind_bytes([1, 2, 3])
    file = remote(server, size=None, sha256=None, check=download._check_folds)
    assert "expected 3064" in refusal(file, tmp_path)
    server.content = forms.cvind_bytes([1] * 3064)
    assert fetch(file, tmp_path).exists()


def test_all_files_of_a_set_are_fetched_and_then_trusted(server, tmp_path):
    files = [remote(server, name="a"), remote(server, name="b")]
    folder = tmp_path / "deep" / "folder"
    assert [path.name for path in download.fetch_all(files, folder)] == ["a", "b"]
    (folder / "a").write_bytes(b"changed")
    download.fetch_all(files, folder, trust_present=True)
    with pytest.raises(InputError, match="found 7 bytes"):
        download.fetch_all(files, folder)
    assert len(server.requests) == 2


def test_the_published_table_is_complete():
    zips = [file for file in download.FIGSHARE if file.name.endswith(".zip")]
    assert {file.name for file in zips} == set(download.figshare.PUBLISHED_ZIPS)
    assert sum(file.size for file in zips) == 879493326
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in zips)
    assert len({file.url for file in download.FIGSHARE}) == 5


def test_the_script_explains_itself_and_reports_mistakes(tmp_path):
    root = pathlib.Path(__file__).resolve().parents[2]
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "experiments.download", "figshare", "--data_dir", str(tmp_path / "file")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("download: ")
    assert "Traceback" not in done.stderr


def test_a_server_that_never_ends_is_cut_off(server, tmp_path):
    server.content = CONTENT * 200
    found = refusal(remote(server, size=len(CONTENT)), tmp_path)
    assert f"found more than {len(CONTENT)} bytes" in found
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_unknown_size_keeps_to_the_limits(server, tmp_path, monkeypatch):
    monkeypatch.setenv("BTJAX_LIMIT_DOWNLOAD", "10")
    assert "expected at most 10 ($BTJAX_LIMIT_DOWNLOAD raises it)" in refusal(remote(server, size=None), tmp_path)


def test_a_download_ends_in_time(server, tmp_path, monkeypatch):
    times = iter([0.0, *[1e9] * 100])
    monkeypatch.setattr("btjax.data.download.time.monotonic", lambda: next(times))
    assert "seconds" in refusal(remote(server), tmp_path)


def test_an_unknown_home_folder_is_one_line():
    with pytest.raises(InputError, match="~nosuchuser"):
        fetch_all([], "~nosuchuser/x")
