"""Which of several values of a flag counts: what is typed before what stands in a file."""

import pytest

from btjax.base.errors import InputError
from experiments.command_line import arranged, flag_before_parsing


@pytest.fixture
def presets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outer.flags").write_text("--epochs=5\n# a comment\n\n--flagfile=inner.flags\n--flip\n")
    (tmp_path / "inner.flags").write_text("// another\n--epochs=7\n  --seed=3\n")
    (tmp_path / "other.flags").write_text("--epochs=9\n")
    return tmp_path


def last(name, *arguments):
    return flag_before_parsing(name, "default", arguments)


@pytest.mark.parametrize(
    "typed",
    [
        ("--epochs=1", "--flagfile=outer.flags"),
        ("--flagfile=outer.flags", "--epochs=1"),
        ("--epochs", "1", "--flagfile", "outer.flags"),
        ("--epochs=4", "--flagfile=outer.flags", "--epochs=1"),
        ("--epochs=1", "-flagfile=outer.flags", "--flagfile=other.flags"),
    ],
)
def test_what_is_typed_wins_wherever_the_file_is_named_and_the_last_of_what_is_typed(presets, typed):
    assert last("epochs", *typed) == "1"
    assert last("seed", *typed) == "3"


def test_a_files_own_lines_win_over_those_of_the_file_that_it_names(presets):
    assert arranged(["--flagfile=outer.flags"]) == ["--epochs=7", "--seed=3", "--epochs=5", "--flip"]
    assert last("epochs", "--flagfile=outer.flags", "--flagfile=other.flags") == "9"
    assert last("epochs", "--noflip") == "default"


def test_what_follows_two_dashes_is_left_alone(presets):
    assert arranged(["--seed=1", "--", "--flagfile=other.flags"]) == ["--seed=1", "--", "--flagfile=other.flags"]


def test_files_that_cannot_be_read_or_name_themselves_are_one_line(presets, monkeypatch):
    (presets / "circle.flags").write_text("--flagfile=circle.flags\n")
    (presets / "latin.flags").write_bytes(b"--data_dir=T\xe9te\n")
    for path, said in (("circle.flags", "names itself"), ("none.flags", "No such file"), ("latin.flags", "utf-8")):
        with pytest.raises(InputError, match=f"--flagfile={path}.*{said}"):
            arranged([f"--flagfile={path}"])
    with pytest.raises(InputError, match="--flagfile: expected the path"):
        arranged(["--seed=1", "--flagfile"])
    monkeypatch.setenv("HOME", str(presets))
    assert arranged(["--flagfile=~/other.flags"]) == ["--epochs=9"]
