"""What every classifier's experiment does: data, split, training, evaluation, report."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable

import jax
import numpy as np
from absl import app, logging

from btjax.cache import cache_folder
from btjax.config import Config
from btjax.data.dataset import load_data
from btjax.data.slices import Slices
from btjax.data.splits import Split, make_split
from btjax.errors import InputError
from btjax.report import Record, classifier_report, write_classifier_report
from btjax.runs import Run, restore
from btjax.training.loop import Examples, Interrupted, Trainer
from btjax.training.step import make_predict
from btjax.training.transfer import Prepared
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


Prepare = Callable[[Config, Slices, Split], Prepared]
"""Makes ready what a run trains."""


def prepare_slices(config: Config, slices: Slices, split: Split) -> Prepared:
    """The whole model, on slices, from fresh parameters."""
    return Prepared(config.task(), Examples.of(slices, split), {}, None)


def run_classifier(config: Config, prepare: Prepare = prepare_slices) -> None:
    """Trains (or resumes, or only evaluates) the classifier of a config in --workdir and writes its report.

    Args:
      config: what to run.
      prepare: makes ready what is trained.

    Raises:
      InputError: a mistake in flags, data or folder.
      Interrupted: the run was asked to stop; it can be resumed.
    """
    run, slices, form, split = open_run(config)
    if FLAGS.eval_only:
        prepared = prepare_slices(config, slices, split)
        run.start(config, split)
    else:
        prepared = prepare(config, slices, split)
        trainer = Trainer(
            prepared.task, config.training, prepared.examples, config.seed, run.checkpoints, prepared.pretrained
        )
        run.start(config, split)
        if FLAGS.resume and run.checkpoints.exists("last"):
            trainer.restore()  # a run that was stopped before its first checkpoint begins anew
        with Console(config.training.epochs, run) as console:
            trainer.fit(console)
    variables, predict = restore(run.folder).variables, make_predict(prepared.task)
    sides = {side: rows for side, rows in split.sides().items() if side != "train"}
    logits = {side: predict(variables, prepared.examples.images[rows], 32) for side, rows in sides.items()}
    record = Record.of(run)
    if prepared.features is not None:
        copies = 0 if prepared.examples.train[0][0] < len(slices) else len(prepared.examples.train)
        record.training["features"] = f"{prepared.features}, computed once, {copies} augmented copies"
    write_report(run, config, slices, split, form, logits, record)


def open_run(config: Config) -> tuple[Run, Slices, str, Split]:
    """Checks --workdir, loads the slices and divides them.

    Returns:
      (run, slices, the data set's form in words, split)
    """
    run = Run(FLAGS.workdir)
    run.check(config, FLAGS.resume or FLAGS.eval_only)
    config.model.check(config.data.image_size)
    with contextlib.closing(DataBars("slice")) as bars:
        slices, form = load_data(config.data, FLAGS.cache_dir, bars)
    print(f"data: {form}: {len(slices)} slices at {config.data.image_size} px")
    split = make_split(slices, config.data.protocol, config.data.fold, config.data.folds, config.seed)
    print(f"split: {config.data.protocol}: " + ", ".join(f"{len(rows)} {side}" for side, rows in split.sides().items()))
    return run, slices, form, split


def write_report(
    run: Run, config: Config, slices: Slices, split: Split, form: str, logits: dict[str, np.ndarray], record: Record
) -> None:
    """Writes the report into the run's folder and prints its head; arguments as `classifier_report`'s."""
    report = classifier_report(config, slices, split, form, logits, record)
    write_classifier_report(run, report, slices.take(split.test), logits["test"], record.history)
    test, validation, epoch = report["test"], report["validation"], report["checkpoint"].get("epoch")
    low, high = test["accuracy_ci95"] or (float("nan"), float("nan"))
    print(
        f"test accuracy {test['accuracy']:.4f} (95% interval {low:.3f} to {high:.3f}) on {test['slices']} slices, "
        f"validation {validation['accuracy']:.4f} on {validation['slices']}"
        + (f"; epoch {epoch} of {report['training']['epochs']}" if epoch else "")
        + f"\n{run.folder / 'report.html'}"
    )
