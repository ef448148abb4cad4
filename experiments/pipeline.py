"""What every classifier's experiment does: data, split, training, evaluation, report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import jax
from absl import app, logging

from btjax.data.builder import cache_folder
from btjax.data.dataset import load_data
from btjax.data.splits import make_split
from btjax.errors import InputError
from btjax.report import classifier_report, write_classifier_report
from btjax.runs import Config, Run
from btjax.training.loop import Interrupted, Trainer
from btjax.training.step import make_predict
from experiments.console import Console, DataBars
from experiments.options import FLAGS, config_from_flags, define_flags


def run_experiment(experiment: str, main: Callable[[Config], None]) -> None:
    """Parses the flags of an experiment and runs it; a user's mistake ends in one line and exit status 2.

    Args:
      experiment: its name, a key of `btjax.models.MODELS`.
      main: does the work of a config.
    """
    define_flags(experiment)

    def guarded(_):
        logging.set_verbosity(logging.WARNING)
        jax.config.update("jax_compilation_cache_dir", str(cache_folder(FLAGS.cache_dir) / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 2.0)
        try:
            if not FLAGS.workdir:
                raise InputError("--workdir is missing: expected a folder for the run")
            main(config_from_flags(experiment))
        except InputError as error:
            sys.exit(_fail(f"{experiment}: {error}", 2))
        except OSError as error:
            sys.exit(_fail(f"{experiment}: {error}", 2))
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
    resume = FLAGS.resume or FLAGS.eval_only
    run.check(config, resume)
    slices, form = load_data(config.data, FLAGS.cache_dir, DataBars("slice"))
    print(f"data: {form}: {len(slices)} slices at {config.data.image_size} px")
    split = make_split(slices, config.data.protocol, config.data.fold, config.data.folds, config.seed)
    print(f"split: {config.data.protocol}: " + ", ".join(f"{len(rows)} {side}" for side, rows in split.sides().items()))
    run.start(config, resume)
    task = config.task()
    trainer = Trainer(task, config.training, slices, split, config.seed, run.checkpoints)
    if FLAGS.eval_only or (FLAGS.resume and run.checkpoints.exists("last")):
        trainer.restore()  # a run that was stopped before its first checkpoint begins anew
    if not FLAGS.eval_only:
        with Console(config.training.epochs, run) as console:
            trainer.fit(console)
    progress = trainer.progress
    variables, _ = run.checkpoints.load_best(trainer.state.variables)
    predict = make_predict(task)
    logits = {
        side: predict(variables, slices.images[rows], config.training.batch_size)
        for side, rows in split.sides().items()
        if side != "train"
    }
    report = classifier_report(config, slices, split, form, logits, progress)
    write_classifier_report(run, report, progress.history, slices.take(split.test), logits["test"])
    low, high = report["test"]["accuracy_ci95"]
    print(
        f"test accuracy {report['test']['accuracy']:.4f} (95% interval {low:.3f} to {high:.3f}) on "
        f"{len(split.test)} slices, validation {report['validation']['accuracy']:.4f} on {len(split.validation)}; "
        f"epoch {progress.best['epoch']} of {progress.epoch}\n{run.folder / 'report.html'}"
    )
