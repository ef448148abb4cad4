"""Paths, folders, locks and whole files as users' machines have them."""

import errno
import os
import pathlib
import pwd

import pytest

from btjax.base import files
from btjax.base.errors import InputError


def test_a_leading_tilde_is_the_home_folder_and_no_other_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/runs/x") == tmp_path / "runs" / "x" and files.expanded("~") == tmp_path
    assert files.expanded("runs/~x") == pathlib.Path("runs/~x")
    with pytest.raises(InputError, match=r"~nobody-of-that-name/x: .*expected a path without ~"):
        files.expanded("~nobody-of-that-name/x")


def test_without_a_home_folder_the_cache_has_to_be_named(monkeypatch, tmp_path):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("BTJAX_CACHE", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(f"uid not found: {uid}")))
    with pytest.raises(InputError, match=r"expected --cache_dir or \$BTJAX_CACHE to name a folder") as caught:
        files.cache_folder()
    assert len(str(caught.value).splitlines()) == 1
    assert files.cache_folder(tmp_path) == tmp_path


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write() failed: No space left on device")],
)
def test_a_file_that_cannot_be_written_is_one_line_and_leaves_the_former_file(tmp_path, error):
    path = tmp_path / "report.json"
    path.write_text("former")

    def write(beside):
        beside.write_text("half")
        raise error

    with pytest.raises(InputError, match=r"report\.json: cannot be written: .*No space left on device"):
        files.write_whole(path, write)
    assert path.read_text() == "former" and [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_missing_folder_and_a_file_in_the_place_of_a_folder_are_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="No such file or directory"):
        files.write_json(tmp_path / "none" / "x.json", {})
    with pytest.raises(InputError, match="cannot be made"):
        files.make_folder(tmp_path / "file" / "below", "--workdir=")
    with pytest.raises(InputError, match="cannot keep anything there"):
        files.make_cache(tmp_path / "file")
    with pytest.raises(InputError, match="cannot keep anything there"), files.only_process(tmp_path / "none" / "lock"):
        pass
    for below in ("file", "file/below/it"):
        with pytest.raises(InputError, match=r"found a file at .*expected a folder"):
            files.check_writable(tmp_path / below, "--workdir=")


def test_a_folder_without_permission_is_found_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: pathlib.Path(path) != tmp_path)
    with pytest.raises(InputError, match=f"--workdir={tmp_path}/a/b: no permission to write in {tmp_path}"):
        files.check_writable(tmp_path / "a" / "b", "--workdir=")
    assert not list(tmp_path.iterdir())


LOGS = """log.txt LOG.TXT run.log train.log.1 slurm-123.out slurm-123.err nohup.out job.o12345 job.e12345-7 job.po12345
stdout stderr.txt train_log.txt out.txt .DS_Store .gitkeep .nfs000123 config.json.part console.txt""".split()
OTHERS = "thesis.txt login.txt catalog.txt data.csv notes.md output.csv model.h5 config.yaml o12345".split()


def test_logs_and_hidden_files_are_no_strangers_and_other_peoples_files_are(tmp_path):
    for name in LOGS + OTHERS:
        (tmp_path / name).touch()
    (tmp_path / "out.log").mkdir()  # a folder is no log
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert [path.name for path in files.strangers(tmp_path)] == sorted([*OTHERS, "out.log"])
    assert files.strangers(tmp_path / "none") == []


def test_the_file_that_takes_the_output_is_no_stranger_whatever_its_name(tmp_path):
    kept = os.dup(1)
    try:
        with open(tmp_path / "what-i-saw.md", "w") as file:
            os.dup2(file.fileno(), 1)
        assert files.strangers(tmp_path) == []
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert [path.name for path in files.strangers(tmp_path)] == ["what-i-saw.md"]


def test_an_owner_without_a_name_goes_by_number_within_the_block_alone(monkeypatch):
    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with files.nameless_owners():
        assert pwd.getpwuid(12345).pw_name == "12345"
    with pytest.raises(KeyError):
        pwd.getpwuid(12345)


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": Infinity}', '{"a": 1e400}', '{"a": "\\ud800"}', "{", "[" * 100_000]
)
def test_what_is_not_strictly_json_is_one_line(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json: not JSON: ") as refused:
        files.read_json(tmp_path / "x.json")
    assert "\n" not in str(refused.value)


def test_numbers_and_texts_come_back_from_json_as_they_were(tmp_path):
    values = {"a": [0.1, 1.7976931348623157e308, 2**70, -0.0], "b": "é\u202e\n", "c": None}
    files.write_json(tmp_path / "x.json", values)
    assert {name: one for name, one in files.read_json(tmp_path / "x.json").items() if name != "sha256"} == values
