import multiprocessing
import os
import pathlib
import signal
import time

import pytest

from btjax.base.errors import InputError, Stop
from btjax.runs.queue import ATTEMPTS, Queue

NAMES = [f"cell_{number}" for number in range(12)]


def take_all(folder: pathlib.Path, who: int) -> None:
    """Takes pieces until none waits, and writes down who took which."""
    queue = Queue(folder, "test")
    while True:
        with queue.take() as piece:
            if piece is None:
                return
            with open(folder / f"taken_{who}", "a") as file:
                file.write("".join(f"{name}\n" for name in piece.names))
            time.sleep(0.02)
            queue.finish(piece, 1.0)


def take_and_hang(folder: pathlib.Path) -> None:
    with Queue(folder, "test").take() as piece:
        (folder / "hanging").write_text(piece.names[0])
        time.sleep(600)


def start(target, *arguments):
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    return process


def wait_for(path: pathlib.Path) -> None:
    for _ in range(1200):
        if path.exists() and path.read_text():
            return
        time.sleep(0.05)
    raise TimeoutError(path)


def test_two_processes_share_the_pieces_and_take_none_twice(tmp_path):
    Queue(tmp_path, "test").add([[name] for name in NAMES])
    processes = [start(take_all, tmp_path, who) for who in range(2)]
    for process in processes:
        process.join()
    taken = [name for path in tmp_path.glob("taken_*") for name in path.read_text().split()]
    assert sorted(taken) == sorted(NAMES)
    assert Queue(tmp_path, "test").unfinished() == set()


def test_the_piece_of_a_killed_process_is_taken_by_another(tmp_path):
    queue = Queue(tmp_path, "test")
    queue.add([["first"], ["second"]])
    process = start(take_and_hang, tmp_path)
    wait_for(tmp_path / "hanging")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = []
    while True:
        with queue.take() as piece:
            if piece is None:
                break
            done += piece.names
            queue.finish(piece, 1.0)
    assert sorted(done) == ["first", "second"]


def test_the_piece_of_a_living_process_is_left_to_it(tmp_path):
    queue, other = Queue(tmp_path, "test"), Queue(tmp_path, "test")
    queue.add([["only"]])
    with queue.take() as piece:
        other.add([["only"]])
        with other.take() as second:
            assert second is None
        queue.finish(piece, 1.0)
    assert queue.unfinished() == set()


def test_an_interrupted_piece_waits_again_however_often(tmp_path):
    queue = Queue(tmp_path, "test")
    queue.add([["only"]])
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(Stop), queue.take():
            raise Stop
    assert queue.unfinished() == {"only"}


def test_a_piece_that_ends_its_process_again_and_again_is_given_up(tmp_path):
    queue = Queue(tmp_path, "test")
    queue.add([["only"]])
    for _ in range(ATTEMPTS):
        with pytest.raises(MemoryError), queue.take():
            raise MemoryError
    with queue.take() as piece:
        assert piece is None
    assert queue.failures() == {"only": f"its process ended {ATTEMPTS} times without a word"}


def test_why_a_piece_failed_is_kept_until_it_is_added_again(tmp_path):
    queue = Queue(tmp_path, "test")
    queue.add([["only"]])
    with queue.take() as piece:
        queue.fail(piece, "--epochs=0: expected at least 1")
    assert queue.failures() == {"only": "--epochs=0: expected at least 1"}
    queue.add([["only"]])
    assert queue.failures() == {}
    assert queue.unfinished() == {"only"}


def test_a_database_keeps_a_queue_as_a_file_does(tmp_path):
    url = f"sqlite:///{tmp_path}/cells.db"
    Queue(tmp_path, "test", url).add([["a", "b"]])
    queue = Queue(tmp_path, "test", url)
    with queue.take() as piece:
        assert piece.names == ("a", "b")
        queue.finish(piece, 0.5)
    assert not (tmp_path / "queue.log").exists()


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/cells.db", "nonsense://host/name"])
def test_a_storage_that_cannot_be_reached_is_one_line(tmp_path, url):
    with pytest.raises(InputError, match=f"--storage={url}: .*, expected a database that Optuna reaches"):
        Queue(tmp_path, "test", url)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_line_of_the_journal_that_was_left_unfinished_costs_that_line_alone(tmp_path, kept):
    Queue(tmp_path, "it").add([["a"], ["b"]])
    journal = tmp_path / "queue.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    journal.write_bytes(b"".join(lines[:kept]) + b'{"op_code":4,"work')  # the disk was full
    queue = Queue(tmp_path, "it")
    queue.add([["a"], ["b"]])
    again = Queue(tmp_path, "it")
    assert again.unfinished() == {"a", "b"}
    for _ in range(2):
        with again.take() as piece:
            again.finish(piece, 0.5)
    assert Queue(tmp_path, "it").unfinished() == set()


def test_a_damaged_journal_is_one_line_that_names_it(tmp_path):
    (tmp_path / "queue.log").write_text("no journal\n" * 3)
    with pytest.raises(InputError, match=r"queue\.log: .*expected a journal"):
        Queue(tmp_path, "test").add([["a"]])
