"""What every classifier's experiment does: data, split, training, evaluation, report."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable

import jax
from absl import app, logging

from btjax.config import Config
from btjax.data.builder import cache_folder
from btjax.data.dataset import load_data
from btjax.data.splits import make_split
from btjax.errors import InputError
from btjax.report import classifier_report, write_classifier_report
from btjax.runs import Run, restore
from btjax.training.loop import Interrupted, Trainer
from experiments.command_line import FLAGS, config_from_flags, define_flags
from experiments.console import Console, DataBars


def run_experiment(experiment: str, main: Callable[[Config], None]) -> None:
    """Parses the flags of an experiment and runs it; a user's mistake ends in one line and exit status 2.

    Args:
      experiment: its name, a key of `btjax.models.MODELS`.
      main: does the work of a config.
    """
    define_flags(experiment)

    def guarded(arguments):
        logging.set_verbosity(logging.WARNING)
        jax.config.update("jax_compilation_cache_dir", str(cache_folder(FLAGS.cache_dir) / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 2.0)
        try:
            if arguments[1:]:
                raise InputError(f"{arguments[1]}: found a word that is no flag, expected --name=value")
            if not FLAGS.workdir:
                raise InputError("--workdir is missing: expected a folder for the run")
            main(config_from_flags(experiment))
        except (InputError, OSError) as error:
            sys.exit(_fail(f"{experiment}: {error}", 2))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            sys.exit(_fail(f"{experiment}: out of memory; try a smaller --batch_size or --image_size", 2))
        except Interrupted as stop:
            sys.exit(_fail(f"{experiment}: {stop}", 128 + stop.signal))
        except KeyboardInterrupt:
            sys.exit(_fail(f"{experiment}: interrupted", 128 + signal.SIGINT))

    app.run(guarded)


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


def run_classifier(config: Config) -> None:
    """Trains (or resumes, or only evaluates) the classifier of a config in --workdir and writes its report.

    Raises:
      InputError: a mistake in flags, data or folder.
      Interrupted: the run was asked to stop; it can be resumed.
    """
    run = Run(FLAGS.workdir)
    run.check(config, FLAGS.resume or FLAGS.eval_only)
    config.model.check(config.data.image_size)
    with contextlib.closing(DataBars("slice")) as bars:
        slices, form = load_data(config.data, FLAGS.cache_dir, bars)
    print(f"data: {form}: {len(slices)} slices at {config.data.image_size} px")
    split = make_split(slices, config.data.protocol, config.data.fold, config.data.folds, config.seed)
    print(f"split: {config.data.protocol}: " + ", ".join(f"{len(rows)} {side}" for side, rows in split.sides().items()))
    if FLAGS.eval_only:
        run.start(config, split)
    else:
        trainer = Trainer(config.task(), config.training, slices, split, config.seed, run.checkpoints)
        run.start(config, split)
        if FLAGS.resume and run.checkpoints.exists("last"):
            trainer.restore()  # a run that was stopped before its first checkpoint begins anew
        with Console(config.training.epochs, run) as console:
            trainer.fit(console)
    model = restore(run.folder)
    logits = {side: model.logits(slices.images[rows]) for side, rows in split.sides().items() if side != "train"}
    report = classifier_report(run, slices, split, form, logits)
    write_classifier_report(run, report, slices.take(split.test), logits["test"])
    _print_result(report, run)


def _print_result(report: dict, run: Run) -> None:
    test, validation = report["test"], report["validation"]
    low, high = test["accuracy_ci95"] or (float("nan"), float("nan"))
    print(
        f"test accuracy {test['accuracy']:.4f} (95% interval {low:.3f} to {high:.3f}) on {test['slices']} slices, "
        f"validation {validation['accuracy']:.4f} on {validation['slices']}; "
        f"epoch {report['checkpoint']['epoch']} of {report['training']['epochs']}\n{run.folder / 'report.html'}"
    )
