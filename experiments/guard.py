"""How every experiment begins and ends: a user's mistake is one line and exit status 2, never a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import jax
from absl import app, logging

from btjax.base.errors import InputError
from btjax.base.files import cache_folder
from btjax.training.loop import Interrupted
from experiments.command_line import FLAGS


def run_guarded(name: str, main: Callable[[], None]) -> None:
    """Parses the flags and runs `main`, which takes none; what is compiled is kept beside the prepared slices.

    Args:
      name: begins every message.
      main: does the work.
    """

    def guarded(arguments):
        logging.set_verbosity(logging.WARNING)
        jax.config.update("jax_compilation_cache_dir", str(cache_folder(FLAGS.cache_dir) / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 2.0)
        try:
            if arguments[1:]:
                raise InputError(f"{arguments[1]}: found a word that is no flag, expected --name=value")
            main()
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

    app.run(guarded)


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
