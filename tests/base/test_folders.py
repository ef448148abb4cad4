"""Folders that commands write: held by one process, and only a new one or the command's own."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from btjax.base import folders
from btjax.base.errors import InputError
from btjax.base.folders import LOCK, MARK, claimed, held
from btjax.base.progress import Observer

HOLDER = """
import pathlib, sys, time
from btjax.base.folders import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


class Heard(Observer):
    def __init__(self):
        self.lines = []

    def on_message(self, text):
        self.lines.append(text)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path / "run"."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_who_holds_the_folder_and_may_come_in_after_its_death(holder, tmp_path):
    told = rf"--workdir=.*run: held by process {holder.pid} on \S+, since 20\d\d-"
    with pytest.raises(InputError, match=told), held(tmp_path / "run"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    heard = Heard()
    with held(tmp_path / "run", heard):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert heard.lines == []


def test_a_folder_that_is_held_twice_in_one_process_is_refused_and_the_first_keeps_it(tmp_path):
    with held(tmp_path):
        for _ in range(2):
            with pytest.raises(InputError, match=f"held by process {os.getpid()} "), held(tmp_path):
                pass
    with held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_folders_that_were_made_to_be_held_go_again_unless_something_was_written(tmp_path):
    with pytest.raises(ZeroDivisionError), held(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with held(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "x").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["x"]


def test_a_lock_that_a_leaving_holder_has_removed_is_not_taken_for_a_lock(tmp_path, monkeypatch):
    whole, seen = fcntl.flock, []

    def removed_first(number, operation):
        if not seen:
            seen.append(number)
            (tmp_path / LOCK).unlink()
        whole(number, operation)

    monkeypatch.setattr(folders.fcntl, "flock", removed_first)
    with held(tmp_path), pytest.raises(InputError, match="held by process"), held(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_and_does_not_end_the_work(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folders.fcntl, "flock", refuse)
    heard = Heard()
    with held(tmp_path, heard):
        pass
    (line,) = heard.lines
    assert line.startswith("note: ") and "without locks" in line and os.strerror(number) in line


def test_a_lock_that_another_machine_left_is_told(tmp_path):
    (tmp_path / LOCK).write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00"}))
    heard = Heard()
    with held(tmp_path, heard):
        pass
    (line,) = heard.lines
    assert "process 7 on elsewhere" in line and "no locks between machines" in line
    with held(tmp_path, heard):
        assert len(heard.lines) == 1


def test_a_folder_that_cannot_be_made_or_read_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"), held(tmp_path / "file"):
        pass
    (tmp_path / LOCK).mkdir()
    with pytest.raises(InputError, match="cannot be locked"), held(tmp_path):
        pass


def claim(folder, kind="audit", about=None, **options):
    with claimed(folder, kind, about or {"runs": ["a", "b"]}, **options):
        (folder / "audit.json").write_text(str(time.monotonic_ns()))


def test_results_are_made_again_for_the_same_question_and_for_no_other(tmp_path):
    claim(tmp_path)
    claim(tmp_path, about={"runs": ("a", "b")})
    before = (tmp_path / "audit.json").read_text()
    with pytest.raises(InputError, match=r"holds results of audit with runs=\['a', 'b'\], now runs=\['c'\]"):
        claim(tmp_path, about={"runs": ["c"]})
    with pytest.raises(InputError, match="holds results of 'audit', not of compare"):
        claim(tmp_path, "compare")
    assert (tmp_path / "audit.json").read_text() == before


def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"not marked as a folder of audit \(found thesis\.tex\)"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_an_earlier_version_is_known_by_its_names(tmp_path):
    (tmp_path / "audit.json").touch()
    with pytest.raises(InputError, match=r"found audit\.json"):
        claim(tmp_path)
    claim(tmp_path, own=("audit.json",))
    claim(tmp_path)


def test_work_that_fails_before_it_wrote_leaves_no_mark(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "out", "audit", {}):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": 3}', '{"kind": "audit", "about": 3}'])
def test_a_mark_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / MARK).write_text(text)
    with pytest.raises(InputError) as caught:
        claim(tmp_path)
    assert "\n" not in str(caught.value)
