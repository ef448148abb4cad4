"""Consoles as people have them: of another encoding, closed, full, or with a reader that goes away."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEAK = """
import sys
from experiments.console import fail_in_one_line
from btjax.base.bars import DataBars

def work():
    bars = DataBars()
    for done in range(1, 4):
        bars("read", done, 3)
        print("caf\\u00e9 \\u8133 T\\udce9te", flush=True)
    with open(sys.argv[1], "w") as file:
        file.write("done")

fail_in_one_line("speak", work)
"""


def shell(tmp_path, script: str, **changes: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PY": sys.executable, "SPEAK": SPEAK} | changes
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    "changes",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}, {"PYTHONUTF8": "1"},
     {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
)  # fmt: skip
def test_every_name_can_be_printed(tmp_path, changes):
    done = subprocess.run(
        [sys.executable, "-c", SPEAK, "done"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)} | changes, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3 and (tmp_path / "done").exists()


@pytest.mark.parametrize("script", ["true | :", "2>/dev/full", "2>&-", ">&-"])
def test_a_console_that_is_not_there_does_not_end_the_work(tmp_path, script):
    redirection = "" if "|" in script else script
    done = shell(tmp_path, f'"$PY" -c "$SPEAK" done {redirection}')
    assert done.returncode == 0 and (tmp_path / "done").read_text() == "done"


@pytest.mark.parametrize(
    "script", ['"$PY" -c "$SPEAK" done | :; exit ${PIPESTATUS[0]}', '"$PY" -c "$SPEAK" done >/dev/full']
)
def test_output_that_gets_lost_is_told_in_one_line_and_the_work_is_done(tmp_path, script):
    done = shell(tmp_path, script)
    assert done.returncode == 2 and (tmp_path / "done").exists()
    last = done.stderr.splitlines()[-1]
    assert last.startswith("speak: standard output ended early (")


FAULTS = {
    "foreign": ("import json; json.loads('{')", 2, "JSONDecodeError"),
    "system": ("open('none/at/all')", 2, "No such file or directory"),
    "memory": ("raise MemoryError", 2, "out of memory"),
    "interrupted": ("raise KeyboardInterrupt", 130, "interrupted"),
    "status": ("raise SystemExit(3)", 3, ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_nobody_foresaw_is_one_line_too(tmp_path, fault):
    statement, status, said = FAULTS[fault]
    program = (
        f"from experiments.console import fail_in_one_line\ndef work():\n    {statement}\nfail_in_one_line('x', work)"
    )
    done = shell(tmp_path, '"$PY" -c "$PROGRAM"', PROGRAM=program)
    assert done.returncode == status and said in done.stderr
    assert len(done.stderr.splitlines()) == (1 if said else 0)


def test_a_mistake_of_the_program_itself_and_a_wish_for_it_show_the_traceback(tmp_path):
    statement = "import json; json.loads('{')"
    program = (
        f"from experiments.console import fail_in_one_line\ndef work():\n    {statement}\nfail_in_one_line('x', work)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BTJAX_TRACEBACK": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" in done.stderr
