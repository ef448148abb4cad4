"""The console of a command: a user's mistake is one line and exit status 2, never a traceback.

What cannot be written to the console, or in its encoding, does not end the work.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, TextIO, cast

from btjax.base.errors import InputError, Stop, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_OWN = (_ROOT / "btjax", _ROOT / "experiments")  # the environment may lie below the root too


class Console:
    """A stream to write to that may end early (`| head`), be full (`> log` on a full disk) or be closed (`>&-`).

    What was trained for hours must not be lost for a line that nobody reads: the first failure is kept, and what is
    written later goes nowhere.

    Attributes:
      failure: why writing failed, in words, or "".
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure = ""

    def write(self, text: str) -> int:
        """Writes text as far as that is possible."""
        with self._keeping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Writes what is held back as far as that is possible."""
        with self._keeping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failure = self.failure or reason_of(error)
            self._go_nowhere()

    def _go_nowhere(self) -> None:
        """Lets the stream end in the null device, so that the interpreter's own last flush does not fail either."""
        with contextlib.suppress(Exception), open(os.devnull, "w") as null:
            os.dup2(null.fileno(), self._stream.fileno())


@contextlib.contextmanager
def steady_console() -> Iterator[Console]:
    """Within it stdout and stderr are `Console`s and take every character; gives that of stdout.

    A character that the console's encoding lacks (ASCII, Latin-1), or that is none (a file name that is not UTF-8), is
    written as an escape.
    """
    before = sys.stdout, sys.stderr
    streams = []
    for stream in before:
        if stream is None:  # the shell closed it
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, it stays open to the end
        if hasattr(stream, "reconfigure"):
            cast("Any", stream).reconfigure(errors="backslashreplace")
        streams.append(Console(stream))
    sys.stdout, sys.stderr = streams
    try:
        yield streams[0]
    finally:
        streams[0].flush()
        streams[1].flush()
        sys.stdout, sys.stderr = before


def fail_in_one_line(name: str, work: Callable[[], Any]) -> None:
    """Runs `work`; what a user can cause ends the program with one line on stderr.

    So does what another library raises for a reason that nobody foresaw, unless $BTJAX_TRACEBACK is set; a mistake in
    btjax itself ends in its traceback.
    """
    with steady_console() as console:
        status = _status(name, work)
    if console.failure:
        print(f"{name}: standard output ended early ({console.failure}); the work went on", file=sys.stderr)
        status = status or 2
    if status:
        sys.exit(status)


def _status(name: str, work: Callable[[], Any]) -> int:
    """The exit status of `work`, whose failure is told in one line."""
    try:
        work()
    except (InputError, OSError) as error:
        return _fail(f"{name}: {error}", 2)
    except Stop as stop:
        return _fail(f"{name}: {stop}", 128 + stop.signal)
    except KeyboardInterrupt:
        return _fail(f"{name}: interrupted", 128 + signal.SIGINT)
    except SystemExit as end:
        return _fail(str(end.code), 1) if isinstance(end.code, str) else int(end.code or 0)
    except Exception as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return _fail(f"{name}: out of memory; try a smaller --batch_size or --image_size", 2)
        place = traceback.extract_tb(error.__traceback__)[-1]
        file = pathlib.Path(place.filename)
        if any(file.is_relative_to(own) for own in _OWN) or os.environ.get("BTJAX_TRACEBACK"):
            raise
        where = f"{file.name}, line {place.lineno}"
        hint = "BTJAX_TRACEBACK=1 shows the traceback"
        return _fail(f"{name}: {type(error).__name__}: {reason_of(error)} ({where}; {hint})", 2)
    return 0


def _fail(message: str, status: int) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status
