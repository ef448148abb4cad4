"""Searches for hyper-parameters: trains point after point, and keeps what each reaches on the validation rows."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import pathlib
import random
import uuid
from typing import TYPE_CHECKING, Any

from btjax.base.devices import require_devices
from btjax.base.errors import InputError, Unwritable, foreign
from btjax.base.files import cache_folder, expanded, only_process, write_whole
from btjax.base.folders import claimed
from btjax.base.progress import Observer, Standing, told
from btjax.data.dataset import PHANTOM
from btjax.reports.search import write_search_report
from btjax.runs.folder import RunFolder
from btjax.runs.queue import StorageLost, import_optuna, open_storage, queue_name, reached, storage_name
from btjax.studies.data import divide, load_slices
from btjax.studies.maps import let_programs_go
from btjax.studies.search import (
    SCHEMA,
    Dimension,
    SearchReport,
    TrialRow,
    best_value,
    check_space,
    config_of,
    propose,
    read_space,
)
from btjax.studies.training import fit, prepare_job
from btjax.systems.config import Config
from btjax.systems.presets import flag_lines
from btjax.systems.system import Place, find_system

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from btjax.studies.data import Divided

TRIALS, ID = "trials", ".btjax.id"
"""In a search's folder: the runs, and a name by which its trials are known in a storage that several machines share."""


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """What is searched, and how.

    Attributes:
      config: the options that the points change.
      space: a file, see `btjax.studies.search.read_space`.
      trials: how many points, those of former sittings and of other machines included.
      sampler: of `SAMPLERS`.
      pruner: of `PRUNERS`.
      storage: URL of a database that several machines share, each with its own folder; "" for a file in the folder.
    """

    config: Config
    space: pathlib.Path
    trials: int = 30
    sampler: str = "tpe"
    pruner: str = "asha"
    storage: str = ""


def run_search(
    plan: SearchPlan,
    folder: str | os.PathLike,
    *,
    observer: Observer | None = None,
    cache_dir: str | None = None,
) -> SearchReport:
    """Trains points of a space until there are as many trials as asked, and reports the best.

    A point is chosen by `training.select` on the validation rows of the config's protocol and fold; the test rows are
    not looked at. The same call goes on where a former one was stopped, also in the middle of a trial.

    Args:
      plan: what is searched.
      folder: a new one, or that of the same search.
      observer: is told of the trials.
      cache_dir: where prepared slices are kept.

    Returns:
      The report, which is also written into the folder: search.json, search.html and best.flags, which trains like any
      other flags file.

    Raises:
      InputError: a mistake in the options, or no point that could be trained.
      Interrupted: SIGINT or SIGTERM came; the same call goes on.
    """
    require_devices()
    config, place = find_system(plan.config.system).adapt(plan.config), expanded(folder)
    plan = dataclasses.replace(plan, config=config)
    space = read_space(plan.space)
    _check(plan, space)
    about = {
        "config": config.to_json(),
        "space": [dataclasses.asdict(one) for one in space],
        "sampler": plan.sampler,
        "pruner": plan.pruner,
    }
    with told(observer) as watching, claimed(place, "search", about, observer=watching):
        loaded = load_slices(config, watching, cache_dir)
        config = config.with_classes(loaded.slices.classes)
        plan = dataclasses.replace(plan, config=config)
        data = divide(config, loaded, watching)
        search = _Search(plan, space, place, data, Place(cache_folder(cache_dir), watching.on_data), watching)
        name = queue_name(json.dumps([about, loaded.slices.fingerprint], sort_keys=True))
        with reached(storage_name(place, plan.storage)):
            search.open(name)
        search.work()
        report = search.report()
        write_whole(place / "best.flags", lambda beside: pathlib.Path(beside).write_text(_flags_text(report)))
        write_search_report(place, report)
    return report


def _check(plan: SearchPlan, space: Sequence[Dimension]) -> None:
    """Raises InputError for a plan that cannot be carried out."""
    config = plan.config
    check_space(config.system, space)
    if find_system(config.system).fitted:
        raise InputError(f"--system={config.system}: is fitted in one go, expected a network that is trained")
    if config.data.refit or config.training.select == "last_epoch":
        flag = "--refit" if config.data.refit else "--select=last_epoch"
        raise InputError(
            f"{flag}: a search chooses on validation slices, expected --select=validation_accuracy or such"
        )
    if plan.sampler == "grid":
        ranges = [one.name for one in space if not one.choices]
        if ranges:
            raise InputError(f"--sampler=grid: --{ranges[0]} is a range, expected choices")


class _Pruned(Exception):
    """A trial lags behind."""


class _Report(Observer):
    """Tells Optuna of every epoch, and stops a trial that lags behind."""

    def __init__(self, trial: Any, metric: str, where: str, inner: Observer) -> None:
        self._trial, self._metric, self._where, self._inner = trial, metric, where, inner
        self.on_data, self.on_message, self.on_steps = inner.on_data, inner.on_message, inner.on_steps
        with reached(where):  # the epochs that were told in a former sitting
            self._epochs = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def on_notes(self, notes: Sequence[str]) -> None:
        """What is to be said of the data was said when the search began."""

    def on_start(self, progress: Standing, steps_per_epoch: int, epochs: int) -> None:
        """Tells of the epochs of a former sitting."""
        for epoch in range(1, len(progress.history) + 1):
            self._tell(progress.history[:epoch])
        self._inner.on_start(progress, steps_per_epoch, epochs)

    def on_epoch(self, progress: Standing) -> None:
        """Tells of the epoch that is complete."""
        self._inner.on_epoch(progress)
        self._tell(progress.history)
        with reached(self._where):
            lags = self._trial.should_prune()
        if lags:
            raise _Pruned

    def _tell(self, history: Sequence[dict[str, float]]) -> None:
        if len(history) in self._epochs:
            return
        best = best_value(history, self._metric)
        with reached(self._where):
            self._trial.report(best, len(history))


class _Search:
    """The trials of a search, and Optuna's study of them."""

    def __init__(
        self, plan: SearchPlan, space: Sequence[Dimension], folder: pathlib.Path, data: Divided, *rest: Any
    ) -> None:
        self._plan, self._space, self._folder, self._data = plan, space, folder, data
        self._place, self._observer = rest
        self._metric = plan.config.training.select.removeprefix("validation_")
        self._optuna = import_optuna()
        self._state = self._optuna.trial.TrialState

    def open(self, name: str) -> None:
        """Opens the study, or begins it."""
        prune = self._plan.pruner == "asha"
        pruner = self._optuna.pruners.SuccessiveHalvingPruner() if prune else self._optuna.pruners.NopPruner()
        self._study = self._optuna.create_study(
            storage=open_storage(self._folder, self._plan.storage),
            study_name=name,
            load_if_exists=True,
            direction="maximize",
            pruner=pruner,
        )
        self._id = _id_of(self._folder)
        if self._plan.sampler == "grid":
            names = [one.name for one in self._space]
            points = list(itertools.product(*(one.choices for one in self._space)))
            random.Random(self._plan.config.seed).shuffle(points)
            known = [one for one in self._study.get_trials(deepcopy=False) if "again" not in one.user_attrs]
            for point in points[len(known) : self._plan.trials]:
                self._study.enqueue_trial(dict(zip(names, point, strict=True)))

    def work(self) -> None:
        """Runs trials until there are enough.

        Raises:
          InputError: the storage is lost; what was done is kept.
        """
        where = storage_name(self._folder, self._plan.storage)
        wanted = self._plan.trials
        if self._plan.sampler == "grid":
            wanted = min(wanted, math.prod(len(one.choices) for one in self._space))
        while True:
            with reached(where), only_process(self._folder / ".ask.lock"):
                trial = self._revived()
                if trial is None:
                    if self._ended(self._state.RUNNING) >= wanted:
                        return
                    trial = self._begun()
                about, ended = trial.user_attrs, self._ended()
            self._observer.on_data("trials", ended, wanted)
            self._try(trial, about["flags"], self._folder / TRIALS / about["run"], where)

    def _begun(self) -> Any:
        """The next trial, whose point and name are kept."""
        self._study.sampler = self._sampler(self._ended(self._state.RUNNING))
        trial = self._study.ask()
        about = {"flags": propose(trial, self._space), "run": self._name_of(trial), "workdir": self._id}
        for key in ("flags", "workdir", "run"):  # the name last: with it the trial can be gone on with
            trial.set_user_attr(key, about[key])
        return trial

    def _try(self, trial: Any, flags: list[str], folder: pathlib.Path, where: str) -> None:
        """Trains the point of a trial and tells what it reached."""
        shown, best = " ".join(flags), None
        try:
            config = config_of(self._plan.config, flags)
            with contextlib.suppress(_Pruned):
                self._train(config, RunFolder(folder), _Report(trial, self._metric, where, self._observer))
                best = best_value(RunFolder(folder).history(), self._metric)
        except (StorageLost, Unwritable):  # no fault of the point: the same call goes on with the trial
            raise
        except InputError as error:
            with reached(where):
                trial.set_user_attr("reason", str(error))
                self._study.tell(trial, state=self._state.FAIL)
            self._observer.on_message(f"trial {trial.number}: {shown}: failed: {error}")
            return
        finally:
            let_programs_go()
        with reached(where):
            if best is None:
                self._study.tell(trial, state=self._state.PRUNED)
            else:
                self._study.tell(trial, best)
        result = "stopped early" if best is None else f"{self._plan.config.training.select} {abs(best):.4f}"
        self._observer.on_message(f"trial {trial.number}: {shown}: {result}")

    def _train(self, config: Config, folder: RunFolder, observer: Observer) -> None:
        data = self._data
        if config.data != self._plan.config.data or config.seed != self._plan.config.seed:
            data = divide(config, load_slices(config, observer, str(self._place.cache)))
        begun = folder.begun
        folder.check(config, begun)
        fit(prepare_job(config, folder, data, self._place), resume=begun, observer=observer)

    def _sampler(self, number: int) -> Any:
        """Proposes the trial of a number: the same point whenever the trials before it are the same."""
        samplers, seed = self._optuna.samplers, self._plan.config.seed
        mixed = int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4], "big")
        return samplers.TPESampler(seed=mixed) if self._plan.sampler == "tpe" else samplers.RandomSampler(mixed)

    def _revived(self) -> Any | None:
        """A trial of this folder whose process has died, to go on with; None where there is none.

        What runs here was left by another process: this one holds the folder. A trial whose point is not known yet has
        failed, and the same point waits to be proposed again.
        """
        for trial in self._study.get_trials(deepcopy=False, states=(self._state.RUNNING,)):
            about, given = trial.user_attrs, trial.system_attrs.get("fixed_params", {})
            if self._plan.storage and not self._is_own(about):
                continue
            if "run" in about:
                return self._optuna.trial.Trial(self._study, trial._trial_id)
            self._study.tell(trial.number, state=self._state.FAIL)
            self._study.set_user_attr(f"again_{trial.number}", True)
            self._study.enqueue_trial(given, user_attrs={"again": self._name_of(trial)})
        return None

    def _name_of(self, trial: Any) -> str:
        """The name of a trial's run: its number among those that are not begun again, as if none had ever stopped."""
        if "again" in trial.user_attrs:
            return trial.user_attrs["again"]
        trials = self._study.get_trials(deepcopy=False)
        return f"{sum('again' not in one.user_attrs for one in trials if one.number < trial.number):04d}"

    def _is_own(self, about: dict[str, Any]) -> bool:
        """Whether a trial was begun in this folder; one of an earlier version tells by its path and its run."""
        named = about.get("workdir")
        return named == self._id or (named == str(self._folder) and (self._folder / TRIALS / about["run"]).exists())

    def _ended(self, *further: Any) -> int:
        """How many trials there are that count: those that were not begun again under another number."""
        states = (self._state.COMPLETE, self._state.PRUNED, self._state.FAIL, *further)
        again = {name for name in self._study.user_attrs if name.startswith("again_")}
        trials = self._study.get_trials(deepcopy=False, states=states)
        return sum(f"again_{trial.number}" not in again for trial in trials)

    def report(self) -> SearchReport:
        """What the trials show together.

        Raises:
          InputError: no trial is complete, or the storage is lost.
        """
        with reached(storage_name(self._folder, self._plan.storage)):
            again = {name for name in self._study.user_attrs if name.startswith("again_")}
            trials = [one for one in self._study.get_trials(deepcopy=False) if f"again_{one.number}" not in again]
        rows = tuple(sorted((self._row(one) for one in trials if one.state.is_finished()), key=lambda row: row.number))
        done = [row for row in rows if row.state == "complete" and row.value is not None]
        if not done:
            last = next((row.reason for row in reversed(rows) if row.reason), "every trial was stopped early")
            raise InputError(
                f"--space={self._plan.space}: none of {len(rows)} points could be trained; the last: {last}"
            )
        best = max(done, key=lambda row: (row.value or 0.0, -row.number))
        config = self._plan.config
        return SearchReport(
            schema=SCHEMA,
            title=find_system(config.system).title,
            metric=config.training.select,
            sampler=self._plan.sampler,
            pruner=self._plan.pruner,
            data=self._data.form,
            synthetic=config.data.data_dir == PHANTOM,
            counts={side: len(rows) for side, rows in self._data.split.sides().items()},
            config=config.to_json(),
            trials=rows,
            best=best.number,
            best_flags=tuple(flag_lines(config_of(config, best.flags))),
            importance=self._importance(len(done)),
        )

    def _row(self, trial: Any) -> TrialRow:
        values = trial.intermediate_values
        reached_value = trial.value if trial.value is not None else max(values.values(), default=None)
        state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
        about = trial.user_attrs
        value = None if state == "failed" or reached_value is None else float(reached_value)
        flags = tuple(about.get("flags", ()))
        reason = about.get("reason", "" if flags else "no word")
        return TrialRow(int(about.get("run", trial.number)), flags, state, value, len(values), reason)

    def _importance(self, done: int) -> dict[str, float]:
        if done < 3:
            return {}
        evaluator = self._optuna.importance.FanovaImportanceEvaluator(seed=0)
        try:
            found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # all points reached the same
            return {}
        return {name: float(value) for name, value in found.items()}


def _id_of(folder: pathlib.Path) -> str:
    """A folder's own name, made once; its path may be written in several ways, and be the same on two machines."""
    path = folder / ID
    if not path.exists():
        write_whole(path, lambda beside: beside.write_text(uuid.uuid4().hex))
    with foreign(str(path), "a file that can be read"):
        return path.read_text()


def _flags_text(report: SearchReport) -> str:
    """best.flags: how it was found, and the options."""
    best = next(row for row in report.trials if row.number == report.best)
    data = report.config["data"]
    return "\n".join(
        [
            "# python -m experiments.train --flagfile=best.flags --data_dir=DATA --workdir=DIR",
            "#",
            f"# The best of {len(report.trials)} trials: {report.metric} {abs(best.value or 0):.4f}, on the validation "
            f"slices of protocol {data['protocol']}, fold {data['fold']}.",
            *report.best_flags,
            "",
        ]
    )
