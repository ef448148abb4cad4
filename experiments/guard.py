"""How every experiment begins and ends: a user's mistake is one line and exit status 2, never a traceback."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import jax
from absl import app, logging

from btjax.base.errors import InputError
from btjax.base.files import cache_folder
from btjax.training.hosts import join, leads
from btjax.training.loop import Interrupted
from experiments.command_line import FLAGS, asked_for_help, help_text

if TYPE_CHECKING:
    from collections.abc import Callable


def run_guarded(name: str, main: Callable[[], None], description: str) -> None:
    """Parses the flags and runs `main`; what is compiled is kept beside the prepared slices.

    Args:
      name: of the command; begins every message.
      main: does the work; it takes no arguments.
      description: the command's docstring, for --help.
    """
    if asked_for_help(sys.argv[1:]):
        print(help_text(name, description))
        return

    def guarded(arguments: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        jax.config.update("jax_compilation_cache_dir", str(cache_folder(FLAGS.cache_dir) / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 2.0)
        if arguments[1:]:
            raise InputError(f"{arguments[1]}: is not a flag, expected --name=value")
        main()

    app.run(lambda arguments: fail_in_one_line(name, lambda: guarded(arguments)))


def fail_in_one_line(name: str, work: Callable[[], None]) -> None:
    """Runs `work`; what a user can cause ends the program with one line on stderr."""
    try:
        work()
    except (InputError, OSError) as error:
        sys.exit(_fail(f"{name}: {error}", 2))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sys.exit(_fail(f"{name}: out of memory; try a smaller --batch_size or --image_size", 2))
    except Interrupted as stop:
        sys.exit(_fail(f"{name}: {stop}", 128 + stop.signal))
    except KeyboardInterrupt:
        sys.exit(_fail(f"{name}: interrupted", 128 + signal.SIGINT))


def join_others() -> None:
    """Joins the processes that --coordinator names; only the first prints."""
    if FLAGS.coordinator:
        join(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
        if not leads():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end
    elif FLAGS.processes or FLAGS.process:
        raise InputError("--processes, --process: expected with --coordinator=HOST:PORT")


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
