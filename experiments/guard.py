"""How every experiment begins and ends: a user's mistake is one line and exit status 2, never a traceback."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

import jax
from absl import app, logging

from btjax.base.errors import InputError, reason_of
from btjax.base.files import cache_folder
from btjax.training.hosts import join, leads
from btjax.training.loop import Interrupted
from experiments.command_line import FLAGS, asked_for_help, help_text, parse
from experiments.console import steady_console

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_guarded(name: str, main: Callable[[], None], description: str) -> None:
    """Parses the flags and runs `main`; what is compiled is kept beside the prepared slices.

    Args:
      name: of the command; begins every message.
      main: does the work; it takes no arguments.
      description: the command's docstring, for --help.
    """

    def guarded(arguments: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        jax.config.update("jax_compilation_cache_dir", str(cache_folder(FLAGS.cache_dir) / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 2.0)
        if arguments[1:]:
            raise InputError(f"{arguments[1]}: is not a flag, expected --name=value")
        main()

    def parsed() -> None:
        app.run(guarded, flags_parser=parse)

    help_wanted = asked_for_help(sys.argv[1:])
    fail_in_one_line(name, (lambda: print(help_text(name, description))) if help_wanted else parsed)


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
    except Interrupted as stop:
        return _fail(f"{name}: {stop}", 128 + stop.signal)
    except KeyboardInterrupt:
        return _fail(f"{name}: interrupted", 128 + signal.SIGINT)
    except SystemExit as end:
        return _fail(str(end.code), 1) if isinstance(end.code, str) else int(end.code or 0)
    except Exception as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return _fail(f"{name}: out of memory; try a smaller --batch_size or --image_size", 2)
        place = traceback.extract_tb(error.__traceback__)[-1]
        if pathlib.Path(place.filename).is_relative_to(_ROOT) or os.environ.get("BTJAX_TRACEBACK"):
            raise
        where = f"{pathlib.Path(place.filename).name}, line {place.lineno}"
        hint = "BTJAX_TRACEBACK=1 shows the traceback"
        return _fail(f"{name}: {type(error).__name__}: {reason_of(error)} ({where}; {hint})", 2)
    return 0


def join_others() -> None:
    """Joins the processes that --coordinator names; only the first prints."""
    if FLAGS.coordinator:
        join(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
        if not leads():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end
    elif FLAGS.processes or FLAGS.process:
        raise InputError("--processes, --process: expected with --coordinator=HOST:PORT")


def _fail(message: str, status: int) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status
