"""Trains any system: python -m experiments.train --system=NAME --flagfile=FILE --data_dir=DATA --workdir=DIR.

A flags file may name the system itself. `python -m experiments.cnn` and `python -m experiments.vgg16` are this command
for one system.
"""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

from absl import flags

import btjax
from btjax.base.bars import ProgressBar, StepBar
from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.reports.numbers import number, number_with_interval, percent_with_interval
from btjax.runs.folder import RunFolder
from btjax.runs.report import ClassifierReport, RankingReport, ReconstructionReport, SegmentationReport
from btjax.runs.run import Run
from btjax.systems.system import find_system, system_names
from btjax.training.hosts import leads
from experiments.command_line import (
    FLAGS,
    asked_for_help,
    config_from_flags,
    define_flags,
    flag_before_parsing,
    heading,
    several_configs,
)
from experiments.console import fail_in_one_line
from experiments.guard import join_others, run_guarded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from btjax.runs.report import Report
    from btjax.systems.config import Config


def run_system(default: str | None, description: str) -> None:
    """Defines the flags of a system and runs its command.

    Args:
      default: the system of the command; None for the one that --system names.
      description: the command's docstring.
    """
    command = default or "train"
    asked = []
    fail_in_one_line(command, lambda: asked.append(flag_before_parsing("system", default or "")))
    if not asked[0] and asked_for_help(sys.argv[1:]):
        print(f"{description}\nSystems: {', '.join(system_names())}\n\nAdd --system=NAME for the flags of one.")
        return
    fail_in_one_line(command, lambda: _define(default, asked[0]))
    run_guarded(command, main, description)


def _define(default: str | None, system: str) -> None:
    if default is not None and system != default:
        raise InputError(f"--system={system}: this command trains {default}; python -m experiments.train takes any")
    if not system:
        raise InputError(f"--system is missing: expected one of {', '.join(system_names())}")
    find_system(system)
    with heading("system"):
        flags.DEFINE_string("system", system, "which system is trained; a flags file may name it")
    define_flags(system)


def main() -> None:
    """Trains, resumes or evaluates what the flags say."""
    if not FLAGS.workdir:
        raise InputError("--workdir is missing: expected a folder for the run")
    join_others()
    config = config_from_flags(FLAGS.system)
    if configs := several_configs(config):
        return run_several(configs)
    observer, kept = ProgressBar(), {"cache_dir": FLAGS.cache_dir, "stream": FLAGS.stream}
    if FLAGS.eval_only:
        place = RunFolder(FLAGS.workdir)
        place.check(config, True, more_epochs=False)
        btjax.evaluate(Run(place.path), data_dir=config.data.data_dir, observer=observer, **kept)
    else:
        btjax.train(config, FLAGS.workdir, resume=FLAGS.resume, observer=observer, **kept)
    if leads():
        print(headline(Run(FLAGS.workdir)))
    return None


def run_several(configs: dict[str, Config]) -> None:
    """The runs of --all_folds and --seeds, in one program."""
    if FLAGS.coordinator:
        raise InputError("--coordinator: several processes train one run; leave out --all_folds and --seeds")
    if FLAGS.stream:
        raise InputError("--stream: one run at a time reads its slices from files; leave out --all_folds and --seeds")
    if FLAGS.eval_only:
        runs = {name: Run(expanded(FLAGS.workdir) / name) for name in configs}
        for name, run in runs.items():
            RunFolder(run.folder).check(configs[name], True, more_epochs=False)
            data = configs[name].data.data_dir
            btjax.evaluate(run, data_dir=data, observer=ProgressBar(name), cache_dir=FLAGS.cache_dir)
    else:
        bar = StepBar()
        runs = btjax.train_several(
            configs,
            FLAGS.workdir,
            resume=FLAGS.resume,
            observers=lambda name: ProgressBar(name, bar),
            cache_dir=FLAGS.cache_dir,
        )
    for name, run in runs.items():
        print(f"{name}: {headline(run)}")
    for name, values in _pooled(run.report for run in runs.values()).items():
        spread = f", standard deviation {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        print(f"{name} of {len(values)} runs: mean {statistics.fmean(values):.4f}{spread}")


def _pooled(reports: Iterable[Report]) -> dict[str, list[float]]:
    """What is averaged over runs: test accuracies of classifiers, test Dice of segmenters."""
    values: dict[str, list[float]] = {}
    for report in reports:
        if isinstance(report, ClassifierReport):
            values.setdefault("test accuracy", []).append(report.test.accuracy)
        elif isinstance(report, SegmentationReport) and report.test.dice.value is not None:
            values.setdefault("test Dice", []).append(report.test.dice.value)
    return values


def headline(run: Run) -> str:
    """The head of a run's report, and where its page is."""
    report = run.report
    if isinstance(report, RankingReport):
        found = report.test.average_precision
        told = percent_with_interval(found.value, found.ci95)
        return f"mean average precision {told} of {report.test.queries} queries\n{run.folder / 'report.html'}"
    if isinstance(report, SegmentationReport):
        dice, pointing = report.test.dice, report.test.pointing
        told = f"test Dice {number_with_interval(dice.value, dice.ci95)} on {report.test.slices} slices"
        if report.validation is not None:
            told += f", validation {number(report.validation.dice.value)} on {report.validation.slices}"
        told += f"; the most certain pixel lies in the tumour in {percent_with_interval(pointing.value, pointing.ci95)}"
        return f"{told}\n{run.folder / 'report.html'}"
    if isinstance(report, ReconstructionReport):
        test = report.test
        return f"test MAE {test.mae:.4f}, SSIM {test.ssim:.3f} on {test.slices} slices\n{run.folder / 'report.html'}"
    test, validation, epoch = report.test, report.validation, report.checkpoint.epoch
    low, high = test.accuracy_ci95 or (float("nan"), float("nan"))
    return (
        f"test accuracy {test.accuracy:.4f} (95% interval {low:.3f} to {high:.3f}) on {test.slices} slices"
        + (f", validation {validation.accuracy:.4f} on {validation.slices}" if validation else "")
        + (f"; epoch {epoch} of {report.training.epochs}" if epoch else "")
        + f"\n{run.folder / 'report.html'}"
    )


if __name__ == "__main__":
    sys.exit(run_system(None, __doc__ or ""))
