"""The console of a command: what cannot be written to it, or in its encoding, does not end the work."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from btjax.base.errors import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            cast("Any", stream).reconfigure(errors="backslashreplace")
        streams.append(Console(stream))
    sys.stdout, sys.stderr = streams
    try:
        yield streams[0]
    finally:
        streams[0].flush()
        streams[1].flush()
        sys.stdout, sys.stderr = before
