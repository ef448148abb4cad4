"""Work that several processes, or several machines, share: each piece is taken by one of them and done once.

Optuna's storage keeps the queue: a journal file beside the work, or a database. Whether the process that took a piece
still lives is told by a lock on a file, which the operating system frees however the process ends; so the folder is one
that all of them see.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Any

from btjax.base.errors import InputError, Stop, foreign
from btjax.base.files import make_folder, only_process

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

    from optuna.trial import FrozenTrial

ATTEMPTS = 3
"""How often a piece is begun whose process dies, before it is given up."""


class StorageLost(InputError):
    """The storage cannot be reached or read: no fault of the piece that is being worked on."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """What one process has taken: its number in the queue, the names of what is to be done, and Optuna's trial."""

    number: int
    names: tuple[str, ...]
    trial: Any = None


class Queue:
    """Pieces of work, each a few names.

    Args:
      folder: is seen by all processes; takes the journal and the locks.
      name: of the queue in a storage that holds several.
      storage: the URL of a database, as of Optuna; "" for a journal file in the folder.

    Raises:
      InputError: Optuna is not installed, or the storage cannot be reached or read.

    Example:
      >>> import pathlib, tempfile
      >>> queue = Queue(pathlib.Path(tempfile.mkdtemp()), "example")
      >>> queue.add([["a"], ["b"]])
      >>> with queue.take() as piece:
      ...     queue.finish(piece, 0.9)
      >>> piece.names, queue.unfinished()
      (('a',), {'b'})
    """

    def __init__(self, folder: pathlib.Path, name: str, storage: str = "") -> None:
        optuna = import_optuna()
        self._folder = folder
        self._where = storage_name(folder, storage)
        make_folder(folder / ".locks")
        with self._reached():
            place = open_storage(folder, storage)
            self._study = optuna.create_study(storage=place, study_name=name, load_if_exists=True, direction="maximize")
        self._state = optuna.trial.TrialState

    def add(self, pieces: Sequence[Sequence[str]]) -> None:
        """Adds pieces of which no name waits or is being worked on; names of other pieces are left out."""
        with self._alone():
            known = self._names(self._state.WAITING, self._state.RUNNING)
            for names in pieces:
                if rest := [name for name in names if name not in known]:
                    self._enqueue(rest, 0)

    def unfinished(self) -> set[str]:
        """Names that wait, or that a process works on."""
        with self._alone():
            return self._names(self._state.WAITING, self._state.RUNNING)

    @contextlib.contextmanager
    def take(self) -> Iterator[Piece | None]:
        """Gives the next piece, and holds it while the context lasts; None where none waits.

        Pieces whose process has died go back to the queue first. A piece that is neither finished nor failed when the
        context ends, as one that was interrupted, goes back too.
        """
        with contextlib.ExitStack() as stack:
            with self._alone():
                self._revive()
                trial = self._study.ask() if self._trials(self._state.WAITING) else None
                if trial is not None:
                    self._lock(trial.number, stack)
            if trial is None:
                yield None
                return
            died = True
            try:
                yield Piece(trial.number, tuple(trial.user_attrs["names"]), trial)
                died = False
            except Stop:
                died = False
                raise
            finally:
                with self._alone():
                    for held in self._trials(self._state.RUNNING):
                        if held.number == trial.number:
                            self._put_back(held, counted=died)

    def finish(self, piece: Piece, value: float) -> None:
        """Says that a piece is done, and what it reached."""
        with self._reached():
            self._study.tell(piece.number, value)

    def fail(self, piece: Piece, reason: str) -> None:
        """Says why a piece cannot be done; `add` lets it be tried again."""
        with self._reached():
            piece.trial.set_user_attr("reason", reason)
            self._study.tell(piece.number, state=self._state.FAIL)

    def failures(self) -> dict[str, str]:
        """Name -> reason of what failed and was not added again."""
        last = {}
        with self._reached():
            for trial in self._study.get_trials(deepcopy=False):
                last |= dict.fromkeys(trial.user_attrs["names"], trial)
        died = f"its process ended {ATTEMPTS} times without a word"
        failed = {name: trial for name, trial in last.items() if trial.state == self._state.FAIL}
        return {name: trial.user_attrs.get("reason", died) for name, trial in failed.items()}

    def _revive(self) -> None:
        """Puts pieces back whose process has died; those that were begun too often are given up."""
        for trial in self._trials(self._state.RUNNING):
            with contextlib.ExitStack() as stack, contextlib.suppress(BlockingIOError):
                self._lock(trial.number, stack)
                self._put_back(trial, counted=True)

    def _put_back(self, trial: FrozenTrial, counted: bool) -> None:
        begun = trial.user_attrs["begun"] + counted
        self._study.tell(trial.number, state=self._state.FAIL)
        if begun < ATTEMPTS:
            self._enqueue(trial.user_attrs["names"], begun)

    def _enqueue(self, names: Sequence[str], begun: int) -> None:
        self._study.enqueue_trial({}, user_attrs={"names": list(names), "begun": begun})

    def _names(self, *states: Any) -> set[str]:
        return {name for trial in self._trials(*states) for name in trial.user_attrs["names"]}

    def _trials(self, *states: Any) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def _lock(self, number: int, stack: contextlib.ExitStack) -> None:
        """Holds a piece's lock; BlockingIOError where another process does."""
        file = stack.enter_context(open(self._folder / ".locks" / str(number), "w"))  # noqa: SIM115, the stack closes it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Within it no other process takes or gives back a piece."""
        with only_process(self._folder / ".locks" / "queue"), self._reached():
            yield

    def _reached(self) -> contextlib.AbstractContextManager[None]:
        return reached(self._where)


def import_optuna() -> Any:
    """The package Optuna, which says nothing but errors; InputError where it is not installed."""
    with foreign("the queue of the work", "the extra ladder: pip install 'btjax[ladder]'"):
        import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def storage_name(folder: pathlib.Path, storage: str) -> str:
    """What a storage is called in errors."""
    return f"--storage={storage}" if storage else str(folder / "queue.log")


def open_storage(folder: pathlib.Path, storage: str) -> Any:
    """Optuna's storage: the database of a URL, or a journal file in the folder."""
    if storage:
        import sqlalchemy.pool
        from optuna.storages import RDBStorage

        # Connections are closed after use: hours lie between two pieces of work.
        return RDBStorage(storage, engine_kwargs={"poolclass": sqlalchemy.pool.NullPool})
    from optuna.storages import JournalStorage

    return JournalStorage(_journal(storage_name(folder, storage)))


def _journal(path: str) -> Any:
    """Optuna's journal file, whose writers first cut off a line that a full disk or a kill left unfinished.

    Optuna itself would write the next line behind it, and read neither.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    class MendingLock(JournalFileSymlinkLock):
        def acquire(self) -> bool:
            taken = super().acquire()
            try:
                _cut_unfinished_line(path)
            except OSError:
                self.release()
                raise
            return taken

    return JournalFileBackend(path, lock_obj=MendingLock(path))


def _cut_unfinished_line(path: str) -> None:
    with open(path, "r+b") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def reached(where: str) -> contextlib.AbstractContextManager[None]:
    """Context in which a storage's own exceptions are a user's mistake in one line, `StorageLost`."""
    expected = "a database that Optuna reaches, such as sqlite:///cells.db" if "=" in where else "a journal"
    return foreign(where, expected, StorageLost)


def queue_name(text: str) -> str:
    """A queue's name in a storage: the same for the same text."""
    return f"btjax-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
