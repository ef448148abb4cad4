"""What the cells of a ladder show together: each rung's scores, and how the rungs differ."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.data.dataset import PHANTOM
from btjax.evaluation.calibration import Temperature, expected_calibration_error, fit_temperature
from btjax.evaluation.classification import Scores, classification_report
from btjax.evaluation.comparison import Comparison, compare
from btjax.evaluation.conformal import LEVELS, ConformalScores, conformal_p_values, conformal_scores
from btjax.evaluation.ensembles import EnsembleGain, ensemble_gain
from btjax.evaluation.labelled import Labelled
from btjax.evaluation.metrics import probabilities_and_losses
from btjax.evaluation.segmentation import Compared, SegmentationScores, segmentation_scores
from btjax.evaluation.selective import Selective, selective_report
from btjax.runs.folder import RunFolder
from btjax.runs.report import SCHEMA, ClassifierReport
from btjax.runs.run import Run
from btjax.studies.audit import Outcome, audit
from btjax.studies.audit_rows import Audit
from btjax.studies.data import split_of
from btjax.studies.ladder import MATCHED
from btjax.studies.segmentation import compare_outlines
from btjax.systems.system import find_system

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from btjax.readers.slices import Slices
    from btjax.runs.predictions import Predictions
    from btjax.studies.ladder import Cell, Plan


@dataclasses.dataclass(frozen=True)
class CellScores:
    """One cell: a run of one fold and seed.

    Attributes:
      trained: how many slices it was trained on.
      slices: how many it was tested on.
      patients: of these slices, or None.
      accuracy: on them.
      temperature: fitted on its validation slices, or None where it has none.
      seconds: of training.
    """

    fold: int
    seed: int
    trained: int
    slices: int
    patients: int | None
    accuracy: float
    temperature: float | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class RungScores:
    """One rung of a ladder: the test slices of all its folds and seeds together.

    Attributes:
      name: a protocol, or `slice_matched`.
      planned: how many cells it has.
      cells: those that are done.
      tested: how many different slices they tested.
      total: how many slices there are.
      scores: of all test predictions; each seed's count. Intervals are by family, or what stands for it.
      calibrated: what each cell's own temperature does to them; `value` is the mean. None without validation slices.
      conformal: prediction sets, calibrated in each cell on its validation slices.
      selective: what is scored where the least sure slices are not answered.
      mirrored: the mean of a slice's and its mirror's probabilities, beside the slice's alone, or None.
      seeds: the mean of all seeds' probabilities, on slices that all seeds tested, beside the seeds alone, or None.
      audit: whether something else than the tumour explains the scores; of the first seed's cells.
      outlines: of all test predictions, each seed's counted, of a network that outlines tumours; None for others.
    """

    name: str
    planned: int
    cells: tuple[CellScores, ...]
    tested: int
    total: int
    scores: Scores
    calibrated: Temperature | None
    conformal: tuple[ConformalScores, ...]
    selective: Selective
    mirrored: EnsembleGain | None
    seeds: EnsembleGain | None
    audit: Audit
    outlines: SegmentationScores | None = None

    @property
    def whole(self) -> bool:
        """Whether every planned cell is done."""
        return len(self.cells) == self.planned


@dataclasses.dataclass(frozen=True)
class Leak:
    """How much better a rung scores than one that keeps more together, on the slices that both tested.

    Attributes:
      easier: name of the rung that keeps less together.
      harder: name of the other.
      comparison: `first` is the harder, `second` the easier; their difference with its interval by family.
    """

    easier: str
    harder: str
    comparison: Comparison


@dataclasses.dataclass(frozen=True)
class LadderReport:
    """What ladder.json holds.

    Attributes:
      schema: `btjax.runs.report.SCHEMA`.
      system: name of the system.
      title: its title.
      classes: class names.
      data: form of the data set in words.
      synthetic: whether a program drew it.
      refit: whether the cells trained on their validation slices too.
      config: the options that the cells share.
      rungs: in the order of the plan; those without a finished cell are missing.
      leaks: `slice` and `slice_matched` against every other rung.
    """

    schema: int
    system: str
    title: str
    classes: tuple[str, ...]
    data: str
    synthetic: bool
    refit: bool
    config: dict[str, Any]
    rungs: tuple[RungScores, ...]
    leaks: tuple[Leak, ...]


def ladder_report(plan: Plan, folder: pathlib.Path, done: Sequence[str], slices: Slices, form: str) -> LadderReport:
    """Scores the finished cells of a ladder.

    Args:
      plan: the ladder.
      folder: of its cells.
      done: names of the finished ones.
      slices: the data set.
      form: its form in words.

    Raises:
      InputError: no cell is finished, or one cannot be read.
    """
    if not done:
        raise InputError(f"{folder}: no cell is finished, expected at least one")
    rungs, pools = [], {}
    for name in dict.fromkeys(cell.rung for cell in plan.cells):
        planned = [cell for cell in plan.cells if cell.rung == name]
        finished = [cell for cell in planned if cell.name in set(done)]
        if finished:
            pools[name] = _pool(folder, plan, finished, slices)
            rungs.append(_rung(name, len(planned), pools[name], slices))
    system = find_system(plan.config["system"])
    return LadderReport(
        schema=SCHEMA,
        system=system.name,
        title=system.title,
        classes=slices.classes,
        data=form,
        synthetic=plan.config["data"]["data_dir"] == PHANTOM,
        refit=plan.refit,
        config=plan.config,
        rungs=tuple(rungs),
        leaks=_leaks(pools, slices),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Member:
    """A finished cell: its scores, its split's outcome, and its predictions on both sides that it did not train on."""

    scores: CellScores
    outcome: Outcome
    rows: np.ndarray
    tested: Labelled
    validated: Labelled | None
    mirrored: np.ndarray | None
    outlines: Compared | None


def _pool(folder: pathlib.Path, plan: Plan, cells: Sequence[Cell], slices: Slices) -> list[_Member]:
    """The finished cells of one rung; InputError for predictions of other slices."""
    members = []
    for cell in cells:
        run = Run(folder / cell.name)
        report, predictions = run.report, run.predictions
        if not isinstance(report, ClassifierReport):
            raise InputError(f"{run.folder}: the report of {run.config.task().trains}, expected a classifier's")
        split = split_of(slices, plan.config_of(cell, plan.config["data"]["data_dir"]))
        if not np.array_equal(predictions.ids, slices.ids) or report.split.fingerprint != split.fingerprint:
            raise InputError(f"{run.folder}: its predictions are of other slices, expected those of the ladder")
        validated = _labelled(predictions, split.validation, slices) if len(split.validation) else None
        counts = report.counts
        scores = CellScores(
            fold=cell.fold,
            seed=cell.seed,
            trained=len(split.train),
            slices=len(split.test),
            patients=counts["test"].patients,
            accuracy=predictions.side("test").accuracy,
            temperature=None if validated is None else fit_temperature(validated.logits, validated.labels),
            seconds=report.training.seconds,
        )
        mirrored = None if predictions.flipped is None else predictions.flipped[split.test].astype(np.float64)
        tested = _labelled(predictions, split.test, slices)
        outcome = Outcome.of(predictions, split)
        outlines = None
        if report.outlines is not None:
            if slices.masks is None:
                raise InputError(
                    f"--data_dir: its slices have no masks, which the outlines in {run.folder} are scored against"
                )
            RunFolder(run.folder).check_masks(slices.masks_fingerprint, "--data_dir")
            outlines = compare_outlines(run.outlines.take(split.test), slices.take(split.test))
        members.append(_Member(scores, outcome, split.test.astype(np.int64), tested, validated, mirrored, outlines))
    return members


def _labelled(predictions: Predictions, rows: np.ndarray, slices: Slices) -> Labelled:
    return _rows_of(slices, rows, predictions.logits[rows].astype(np.float64))


def _rows_of(slices: Slices, rows: np.ndarray, logits: np.ndarray) -> Labelled:
    """Logits of some rows with what is known of these."""
    if slices.labels is None:
        raise ValueError("expected labelled slices")
    clusters = slices.links if slices.patients is None else slices.families
    return Labelled(
        logits,
        slices.labels[rows].astype(np.int64),
        None if slices.patients is None else slices.patients[rows],
        None if clusters is None else clusters[rows],
    )


def _rung(name: str, planned: int, members: Sequence[_Member], slices: Slices) -> RungScores:
    rows = np.concatenate([member.rows for member in members])
    pooled = _rows_of(slices, rows, np.concatenate([member.tested.logits for member in members]))
    scores = classification_report(
        pooled.logits, pooled.labels, classes=slices.classes, patients=pooled.patients, groups=pooled.groups
    )
    return RungScores(
        name=name,
        planned=planned,
        cells=tuple(member.scores for member in members),
        tested=len(np.unique(rows)),
        total=len(slices),
        scores=scores,
        calibrated=_calibrated(members, pooled),
        conformal=_conformal(members, pooled, slices.classes),
        selective=selective_report(pooled),
        mirrored=_mirrored(members, pooled),
        seeds=_seeds(members, slices),
        audit=audit(slices, [one.outcome for one in members if one.scores.seed == members[0].scores.seed], title=name),
        outlines=_outlines(members, pooled, slices.classes, scores.interval.unit),
    )


def _outlines(
    members: Sequence[_Member], pooled: Labelled, classes: Sequence[str], unit: str
) -> SegmentationScores | None:
    """The outlines of all members' test slices; `unit` is what a cluster of the pooled rows is."""
    found = [member.outlines for member in members if member.outlines is not None]
    if len(found) < len(members):
        return None
    return segmentation_scores(
        Compared.together(found),
        pooled.labels,
        classes,
        clusters=pooled.groups,
        unit=unit,
        patients=pooled.patients,
    )


def _calibrated(members: Sequence[_Member], pooled: Labelled) -> Temperature | None:
    """Each cell's logits divided by the temperature of its own validation slices."""
    if any(member.scores.temperature is None for member in members):
        return None
    logits = np.concatenate([member.tested.logits / (member.scores.temperature or 1) for member in members])
    losses, errors = [], []
    for each in (logits, pooled.logits):
        probabilities, loss = probabilities_and_losses(each, pooled.labels)
        losses.append(float(loss.mean()))
        errors.append(expected_calibration_error(probabilities, pooled.labels))
    temperatures = [member.scores.temperature or 1 for member in members]
    fitted = sum(len(member.validated) for member in members if member.validated is not None)
    return Temperature(float(np.mean(temperatures)), fitted, len(pooled), *losses, *errors)


def _conformal(members: Sequence[_Member], pooled: Labelled, classes: Sequence[str]) -> tuple[ConformalScores, ...]:
    validated = [member.validated for member in members if member.validated is not None]
    if len(validated) < len(members):
        return ()
    p_values = [conformal_p_values(own, member.tested.logits) for own, member in zip(validated, members, strict=True)]
    return tuple(
        conformal_scores(np.concatenate(p_values), level, pooled, validated, classes=classes) for level in LEVELS
    )


def _mirrored(members: Sequence[_Member], pooled: Labelled) -> EnsembleGain | None:
    logits = [member.mirrored for member in members if member.mirrored is not None]
    if len(logits) < len(members):
        return None
    return ensemble_gain(np.stack([pooled.logits, np.concatenate(logits)]), pooled)


def _seeds(members: Sequence[_Member], slices: Slices) -> EnsembleGain | None:
    """The seeds of a rung together, on the slices that all of them tested."""
    seeds = sorted({member.scores.seed for member in members})
    if len(seeds) < 2:
        return None
    of_seed = {seed: [member for member in members if member.scores.seed == seed] for seed in seeds}
    rows = {seed: np.concatenate([member.rows for member in of_seed[seed]]) for seed in seeds}
    common = rows[seeds[0]]
    for seed in seeds[1:]:
        common = np.intersect1d(common, rows[seed])
    if not len(common):
        return None
    logits = []
    for seed in seeds:
        order = np.argsort(rows[seed])
        places = order[np.searchsorted(rows[seed], common, sorter=order)]
        logits.append(np.concatenate([member.tested.logits for member in of_seed[seed]])[places])
    return ensemble_gain(np.stack(logits), _rows_of(slices, common, logits[0]))


def _leaks(pools: dict[str, list[_Member]], slices: Slices) -> tuple[Leak, ...]:
    """`slice` and its matched rung against the others, on slices that both tested with the same seed."""
    easier = [name for name in ("slice", MATCHED) if name in pools]
    harder = [name for name in pools if name not in ("slice", MATCHED)]
    return tuple(
        Leak(easy, hard, compared)
        for easy in easier
        for hard in harder
        if (compared := _compared(pools[hard], pools[easy], slices)) is not None
    )


def _compared(first: Sequence[_Member], second: Sequence[_Member], slices: Slices) -> Comparison | None:
    """Two rungs on the slices that both tested with the same seed; None where there are none."""
    found = [_by_seed_and_row(members, len(slices)) for members in (first, second)]
    keys = np.intersect1d(found[0][0], found[1][0])
    if not len(keys):
        return None
    one, other = (logits[np.searchsorted(own, keys)] for own, logits in found)
    return compare(_rows_of(slices, keys % len(slices), one), other)


def _by_seed_and_row(members: Sequence[_Member], total: int) -> tuple[np.ndarray, np.ndarray]:
    """A number for each seed and slice, ascending, and the logits."""
    keys = np.concatenate([member.scores.seed * total + member.rows for member in members])
    order = np.argsort(keys)
    return keys[order], np.concatenate([member.tested.logits for member in members])[order]
