"""The errors that a user can cause, and the boundary where those of other libraries become such."""

from __future__ import annotations

import contextlib
import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 200


def one_line(text: str) -> str:
    """A text on one line: names of files may hold line ends and other control characters."""
    return "".join(repr(letter)[1:-1] if letter < " " or letter == "\x7f" else letter for letter in text)


class InputError(Exception):
    r"""A mistake in what the user gave: a flag, a file, a folder.

    The message is one line that names the file or flag, what was found and what was expected. An experiment prints
    it and exits with status 2; no traceback, since nothing is wrong with the program.

    Example:
      >>> print(InputError("a\nb.png: found text, expected an image"))
      a\nb.png: found text, expected an image
    """

    def __init__(self, message: object) -> None:
        super().__init__(one_line(str(message)))


class Unwritable(InputError):
    """A file cannot be written: what was asked for is none the worse, and goes on where there is room."""


class Stop(Exception):
    """The user asked for the end of the work; no boundary turns it into another error.

    Attributes:
      signal: the number of the signal that asked for it.
    """

    signal: int = signal.SIGINT


@contextlib.contextmanager
def foreign(what: str, expected: str = "", kind: type[InputError] = InputError) -> Iterator[None]:
    """The boundary to another library: whatever it raises becomes an InputError of one line.

    Which exceptions a decoder or a writer raises for a damaged file, a full disk or an odd name changes with its
    version and with the file, so none are listed; the original is the InputError's `__cause__`.

    Args:
      what: the file, folder or flag that the library works on, and what it does where that is not plain.
      expected: what would have been right, such as "an image"; "" where the reason says enough.
      kind: the class of the error, where a caller tells it from other InputErrors.

    Raises:
      InputError: for every Exception but InputError itself, also where the library wrapped one, and `Stop`.
        KeyboardInterrupt and SystemExit are no `Exception` and pass.

    Example:
      >>> with foreign("scan.png", "an image"):
      ...     raise SyntaxError("broken PNG file (chunk b'IDAT')")
      Traceback (most recent call last):
      btjax.base.errors.InputError: scan.png: broken PNG file (chunk b'IDAT'), expected an image
    """
    try:
        yield
    except (InputError, Stop):
        raise
    except Exception as error:
        if (own := _wrapped(error)) is not None:
            raise own from error
        ending = f", expected {expected}" if expected else ""
        raise kind(f"{what}: {reason_of(error)}{ending}") from error


@contextlib.contextmanager
def quiet_absl(*, everything: bool = False) -> Iterator[None]:
    """Within it libraries that log by absl, such as Orbax and TFDS, warn of nothing on the console.

    Args:
      everything: whether errors, which they and their threads log with a stack, are left out too: a boundary makes one
        line of them.
    """
    names = ("absl", "asyncio", "concurrent.futures") if everything else ("absl",)
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1 if everything else logging.ERROR)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def reason_of(error: BaseException) -> str:
    """Why something failed, in one line of at most 200 characters, never empty.

    Example:
      >>> reason_of(FileNotFoundError(2, "No such file or directory", "a.png")), reason_of(KeyError("vars"))
      ('No such file or directory', "KeyError: 'vars'")
    """
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    elif isinstance(error, MemoryError):
        text = "out of memory"
    else:
        text = " ".join(str(error).split())
        if not text or isinstance(error, LookupError | AttributeError | TypeError | AssertionError):
            # Their messages are a bare key or speak of code: with the type they can at least be looked up.
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _wrapped(error: BaseException) -> InputError | None:
    """The InputError that a library raised its own error from, if it did."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, InputError):
            return cause
        cause = cause.__cause__
    return None
