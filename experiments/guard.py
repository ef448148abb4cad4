"""How every experiment begins and ends: a user's mistake is one line and exit status 2, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import jax
from absl import app, logging

from btjax.base.devices import COMPILED_SECONDS, keep_freed_memory
from btjax.base.errors import InputError
from btjax.base.files import cache_folder
from btjax.systems.system import find_system
from btjax.training.hosts import join, leads
from experiments.command_line import (
    FLAGS,
    asked_for_help,
    define_cache_flag,
    define_options,
    flag_before_parsing,
    heading,
    help_text,
    parse,
    with_presets,
)
from experiments.console import fail_in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable


def run_guarded(name: str, main: Callable[[], None], description: str, *, positional: str = "") -> None:
    """Parses the flags and runs `main`; what is compiled is kept beside the prepared slices.

    Args:
      name: of the command; begins every message.
      main: does the work; it takes no arguments.
      description: the command's docstring, for --help.
      positional: the list flag that takes what is given without a flag; "" where nothing may be.
    """

    def guarded(arguments: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        keep_freed_memory()
        keep_compiled()
        if positional:
            flag: Any = FLAGS[positional]
            flag.value = [*flag.value, *arguments[1:]]
        elif arguments[1:]:
            raise InputError(f"{arguments[1]}: is not a flag, expected --name=value")
        main()

    def parsed() -> None:
        app.run(guarded, flags_parser=parse)

    help_wanted = asked_for_help(sys.argv[1:])
    fail_in_one_line(name, (lambda: print(help_text(name, description))) if help_wanted else parsed)


def run_over_runs(name: str, define: Callable[[str], None], main: Callable[[], None], description: str) -> None:
    """`run_guarded` for a command that makes many runs of one system, which --preset or --system names.

    Args:
      name: of the command.
      define: defines its own flags; it takes the system's name.
      main: see `run_guarded`.
      description: the command's docstring.
    """

    def defined() -> None:
        sys.argv[1:] = with_presets(sys.argv[1:])
        system = flag_before_parsing("system", "")
        if not system:
            raise InputError("--preset is missing: expected a flags file's name, such as cnn_cpu, or --system=NAME")
        find_system(system)
        with heading(name):
            define(system)
            define_cache_flag()
        define_options(system)

    if asked_for_help(sys.argv[1:]) and not any("--system" in text or "--preset" in text for text in sys.argv):
        print(f"{description}\nAdd --system=NAME or --preset=NAME for the flags of a system.")
        return
    fail_in_one_line(name, defined)
    run_guarded(name, main, description)


def keep_compiled() -> None:
    """Keeps what takes `COMPILED_SECONDS` to compile in the cache; JAX's own variables may say where and from when."""
    cache = cache_folder(FLAGS.cache_dir)  # a cache that cannot be is refused before anything long is begun
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache / "compiled"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILED_SECONDS)


def join_others() -> None:
    """Joins the processes that --coordinator names; only the first prints."""
    if FLAGS.coordinator:
        join(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
        if not leads():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end
    elif FLAGS.processes or FLAGS.process:
        raise InputError("--processes, --process: expected with --coordinator=HOST:PORT")
