"""What every classifier's experiment does: data, split, training, evaluation, report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import jax
from absl import app, logging
from tensorboardX import SummaryWriter
from tqdm import tqdm

from btjax.data.builder import cache_folder
from btjax.data.dataset import load_data
from btjax.data.splits import make_split
from btjax.errors import InputError
from btjax.report import classifier_report, write_classifier_report
from btjax.runs import Config, Run
from btjax.training.loop import Interrupted, Observer, Progress, Trainer
from btjax.training.step import make_predict
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
    slices, form = load_data(config.data, FLAGS.cache_dir, _DataBar())
    print(f"data: {form}: {len(slices)} slices at {config.data.image_size} px")
    split = make_split(slices, config.data.protocol, config.data.fold, config.data.folds, config.seed)
    print(f"split: {config.data.protocol}: " + ", ".join(f"{len(rows)} {side}" for side, rows in split.sides().items()))
    run.start(config, resume)
    task = config.task()
    trainer = Trainer(task, config.training, slices, split, config.seed, run.checkpoints)
    if resume:
        trainer.restore()
    if not FLAGS.eval_only:
        with _Console(config.training.epochs, run) as console:
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


class _DataBar:
    """Shows the reading of slices; `bar(what, done, total)` is called as it goes on."""

    def __init__(self):
        self._bar = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is None or self._bar.desc != f"{what}: ":
            self._bar = tqdm(total=total, desc=what, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()


class _Console(Observer):
    """Shows a run on the terminal, and keeps metrics.jsonl and the TensorBoard log."""

    def __init__(self, epochs: int, run: Run):
        self._epochs, self._run = epochs, run
        self._writer = SummaryWriter(str(run.folder / "tensorboard"))
        self._bar = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()
        self._writer.close()

    def on_start(self, progress: Progress, steps_per_epoch: int) -> None:
        total, done = self._epochs * steps_per_epoch, progress.epoch * steps_per_epoch + progress.steps
        self._steps_per_epoch = steps_per_epoch
        self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)
        self._run.write_metrics(progress.history)

    def on_steps(self, progress: Progress, means: dict[str, float]) -> None:
        self._bar.update(progress.epoch * self._steps_per_epoch + progress.steps - self._bar.n)
        self._bar.set_description(f"epoch {progress.epoch + 1}/{self._epochs}")
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()})

    def on_epoch(self, progress: Progress) -> None:
        row = progress.history[-1]
        self._run.write_metrics(progress.history)
        for name in row.keys() - {"epoch", "step"}:
            self._writer.add_scalar(name, row[name], row["step"])
        best = " (best)" if progress.best is row else ""
        self._bar.write(
            f"epoch {row['epoch']:3d}  train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.4f}  "
            f"validation loss {row['validation_loss']:.4f} accuracy {row['validation_accuracy']:.4f}  "
            f"{row['seconds']:.0f} s{best}"
        )
