"""Commands called in the test's own process: what `python -m experiments.NAME` prints and ends with, without its start.

A process of its own begins with seconds of imports and compiles what the tests before it compiled. Tests of what only a
process has (signals, its environment, several processes, `python -m` itself) start one with `start`.
"""

import contextlib
import io
import logging
import os
import pathlib
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from unittest import mock

import jax
from absl import flags

from experiments import command_line

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(environment: Mapping[str, str], module: str, *arguments: object) -> subprocess.CompletedProcess:
    """Runs a command in a process of its own."""
    command = [sys.executable, "-m", f"experiments.{module}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env={**environment}, capture_output=True, text=True, timeout=280)


def run(environment: Mapping[str, str], module: str, *arguments: object) -> subprocess.CompletedProcess:
    """Runs a command in this process, under the environment and from the root as `start` does.

    Returns:
      Its exit status and what it wrote. A mistake of the program itself, which ends a process with a traceback, raises.
    """
    command = [str(ROOT / "experiments" / f"{module}.py"), *map(str, arguments)]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with _as_in_a_process(environment, command), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _as_in_a_process(environment: Mapping[str, str], command: list[str]) -> Iterator[None]:
    """Arguments, flags, --help's groups, environment, folder, loggers and promotion of a process that just began."""
    handlers, level = [*logging.root.handlers], logging.root.level
    try:
        with (
            mock.patch.object(sys, "argv", command),
            mock.patch.dict(os.environ, {**environment}, clear=True),
            mock.patch.dict(command_line._GROUPS, clear=True),
            contextlib.chdir(ROOT),
            _own_flags(),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            warnings.catch_warnings(),
        ):
            yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@contextlib.contextmanager
def _own_flags() -> Iterator[None]:
    """Forgets the flags that a command defines; those of libraries, which are imported once, stay."""
    before = set(flags.FLAGS)
    try:
        yield
    finally:
        for name in set(flags.FLAGS) - before:
            if flags.FLAGS.find_module_defining_flag(name).startswith((str(ROOT), "experiments.")):
                delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
