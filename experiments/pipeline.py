"""What every classifier's experiment does: data, split, training, evaluation, report."""

from __future__ import annotations

import contextlib
import os
import pathlib
import statistics
import sys
from collections.abc import Callable

import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import read_json
from btjax.data.dataset import load_data
from btjax.data.slices import Slices
from btjax.data.splits import Split, make_split
from btjax.runs.run import Run, restore
from btjax.studies.classifier import Record, classifier_report, write_classifier_report
from btjax.systems.config import Config
from btjax.systems.transfer import Prepared
from btjax.training.hosts import agree, join, leads
from btjax.training.loop import Examples, Trainer
from btjax.training.many import ManyTrainer
from btjax.training.step import make_predict
from experiments.command_line import FLAGS, config_from_flags, define_flags, several_configs
from experiments.console import Console, DataBars, StepBar
from experiments.guard import run_guarded


def run_experiment(experiment: str, main: Callable[[Config], None]) -> None:
    """Parses the flags of an experiment and runs it; a user's mistake ends in one line and exit status 2.

    Args:
      experiment: its name, a key of `btjax.models.MODELS`.
      main: does the work of a config.
    """
    define_flags(experiment)

    def work():
        if not FLAGS.workdir:
            raise InputError("--workdir is missing: expected a folder for the run")
        join_others()
        main(config_from_flags(experiment))

    run_guarded(experiment, work)


def join_others() -> None:
    """Joins the processes that --coordinator names; the first alone goes on speaking."""
    if FLAGS.coordinator:
        join(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
        if not leads():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, it stays open to the end
    elif FLAGS.processes or FLAGS.process:
        raise InputError("--processes, --process: expected with --coordinator=HOST:PORT")


Prepare = Callable[[Config, Slices, Split], Prepared]
"""Makes ready what a run trains."""


def prepare_slices(config: Config, slices: Slices, split: Split) -> Prepared:
    """The whole model, on slices, from fresh parameters."""
    return Prepared(config.task(), Examples.of(slices, split), {}, None)


def run_classifier(config: Config, prepare: Prepare = prepare_slices) -> None:
    """Trains (or resumes, or only evaluates) the classifier of a config in --workdir and writes its report.

    With --all_folds or --seeds several runs train in one program, each in a folder of its own in --workdir.

    Args:
      config: what to run.
      prepare: makes ready what is trained.

    Raises:
      InputError: a mistake in flags, data or folder.
      Interrupted: the run was asked to stop; it can be resumed.
    """
    if configs := several_configs(config):
        return run_several(configs, prepare)
    run, slices, form, split = open_run(config)
    if FLAGS.eval_only:
        prepared = prepare_slices(config, slices, split)
        run.start(config, split)
    else:
        prepared = prepare(config, slices, split)
        train(run, config, prepared, split)
    report_classifier(run, config, slices, split, form, prepared)


def report_classifier(run: Run, config: Config, slices: Slices, split: Split, form: str, prepared: Prepared) -> None:
    """Scores a run's best checkpoint on the validation and test rows and writes its report."""
    variables, predict = restore(run.folder).variables, make_predict(prepared.task)
    sides = {side: rows for side, rows in split.sides().items() if side != "train"}
    logits = {side: predict(variables, prepared.examples.images[rows], 32) for side, rows in sides.items()}
    record = Record.of(run)
    if prepared.features is not None:
        copies = 0 if prepared.examples.train[0][0] < len(slices) else len(prepared.examples.train)
        record.training["features"] = f"{prepared.features}, computed once, {copies} augmented copies"
    write_report(run, config, slices, split, form, logits, record)


def train(run: Run, config: Config, prepared: Prepared, split: Split) -> None:
    """Trains a run from the beginning or, with --resume, from its last checkpoint."""
    trainer = Trainer(
        prepared.task, config.training, prepared.examples, config.seed, run.checkpoints, prepared.pretrained
    )
    run.start(config, split)
    begun = FLAGS.resume and run.checkpoints.exists("last")
    if all(agree(begun, not begun)):
        raise InputError(
            f"--workdir={FLAGS.workdir}: some processes see a checkpoint there, others none; share the folder"
        )
    if begun:
        trainer.restore()  # a run that was stopped before its first checkpoint begins anew
    if not leads():
        trainer.fit()
        return
    with Console(config.training.epochs, run) as console:
        trainer.fit(console)


def run_several(configs: dict[str, Config], prepare: Prepare) -> None:
    """`run_classifier` of several configs that differ in seed and fold, by the names of their folders in --workdir."""
    folder = pathlib.Path(FLAGS.workdir)
    if FLAGS.coordinator:
        raise InputError("--coordinator: several processes train one run; leave out --all_folds and --seeds")
    if folder.is_file() or (folder / "config.json").exists():
        raise InputError(f"--workdir={folder}: found a file or a single run, expected a folder for several runs")
    runs = {name: Run(folder / name) for name in configs}
    begun = any(run.folder.exists() for run in runs.values())
    for name, run in runs.items():  # what was begun can be resumed with further seeds beside it
        run.check(configs[name], FLAGS.eval_only or (FLAGS.resume and (run.folder.exists() or not begun)))
    slices, form = load_slices(next(iter(configs.values())))
    splits = {name: split_slices(config, slices) for name, config in configs.items()}
    prepare = prepare_slices if FLAGS.eval_only else prepare
    prepared = {name: prepare(config, slices, splits[name]) for name, config in configs.items()}
    if FLAGS.eval_only:
        for name, run in runs.items():
            run.start(configs[name], splits[name])
    else:
        train_several(runs, configs, prepared, splits)
    for name, run in runs.items():
        print(name, end=": ")
        report_classifier(run, configs[name], slices, splits[name], form, prepared[name])
    accuracies = [read_json(run.folder / "report.json")["test"]["accuracy"] for run in runs.values()]
    spread = f", standard deviation {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    print(f"test accuracy of {len(accuracies)} runs: mean {statistics.fmean(accuracies):.4f}{spread}")


def train_several(
    runs: dict[str, Run], configs: dict[str, Config], prepared: dict[str, Prepared], splits: dict[str, Split]
) -> None:
    """`train` of several runs in one program."""
    first, ready = next(iter(configs.values())), list(prepared.values())
    trainer = ManyTrainer(
        ready[0].task,
        first.training,
        [one.examples for one in ready],
        [config.seed for config in configs.values()],
        [run.checkpoints for run in runs.values()],
        list(runs),
        ready[0].pretrained,
    )
    for index, (name, run) in enumerate(runs.items()):
        run.start(configs[name], splits[name])
        if FLAGS.resume and run.checkpoints.exists("last"):
            trainer.restore(index)
    bar = StepBar()
    with contextlib.ExitStack() as stack:
        consoles = [Console(first.training.epochs, run, bar, name) for name, run in runs.items()]
        trainer.fit([stack.enter_context(console) for console in consoles])


def open_run(config: Config) -> tuple[Run, Slices, str, Split]:
    """Checks --workdir, loads the slices and divides them.

    Returns:
      (run, slices, the data set's form in words, split)
    """
    run = Run(FLAGS.workdir)
    run.check(config, FLAGS.resume or FLAGS.eval_only)
    return run, *load_and_split(config)


def load_and_split(config: Config) -> tuple[Slices, str, Split]:
    """Loads a config's slices and divides them.

    Returns:
      (slices, the data set's form in words, split)

    Raises:
      InputError: --all_folds or --seeds, which are not for one run.
    """
    if FLAGS.all_folds or FLAGS.seeds:
        raise InputError("--all_folds and --seeds: expected neither, this experiment trains one run at a time")
    slices, form = load_slices(config)
    return slices, form, split_slices(config, slices)


def load_slices(config: Config) -> tuple[Slices, str]:
    """The slices of a config whose model they last through, and the data set's form in words."""
    config.model.check(config.data.image_size)
    with contextlib.closing(DataBars("slice")) as bars:
        slices, form = load_data(config.data, FLAGS.cache_dir, bars)
    print(f"data: {form}: {len(slices)} slices at {config.data.image_size} px")
    return slices, form


def split_slices(config: Config, slices: Slices) -> Split:
    """The split of a config."""
    split = make_split(slices, config.data.protocol, config.data.fold, config.data.folds, config.seed)
    print(f"split: {config.data.protocol}: " + ", ".join(f"{len(rows)} {side}" for side, rows in split.sides().items()))
    return split


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
