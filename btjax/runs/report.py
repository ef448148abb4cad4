"""What report.json of a run holds: frozen dataclasses with a schema version, written and read by msgspec."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.evaluation.calibration import Reliability, Temperature
from btjax.evaluation.classification import Scores
from btjax.evaluation.conformal import ConformalScores
from btjax.evaluation.parts import GroupRow, SourceRow
from btjax.evaluation.reconstruction import ReconstructionScores
from btjax.evaluation.retrieval import RetrievalScores
from btjax.evaluation.segmentation import SegmentationScores
from btjax.evaluation.selective import Selective

if TYPE_CHECKING:
    import pathlib

SCHEMA = 3
"""The version of the reports that this program writes; 1 were dicts, 2 had intervals of the percentile bootstrap."""


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """How the rows were divided.

    Attributes:
      fold: the fold that was held out, from 0.
      folds: the number of folds.
      seed: of the shuffle.
      leaked_patients: patients with slices on more than one side, or None where ids are unknown.
      leaked_families: the same of families of ids.
      fingerprint: hash of the rows of the three sides.
      leaked_links: groups of linked slices on more than one side, or None where links were not looked for.
      copies: test slices whose pixels equal those of a training or validation slice; None in early reports.
    """

    fold: int
    folds: int
    seed: int
    leaked_patients: int | None
    leaked_families: int | None
    fingerprint: str
    leaked_links: int | None = None
    copies: int | None = None


@dataclasses.dataclass(frozen=True)
class Count:
    """Slices of a side of the split, and patients where they are known."""

    slices: int
    patients: int | None


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """The data set: its form in words, its folder, whether it was drawn by a program, and what to know of it."""

    form: str
    dir: str
    synthetic: bool
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """The checkpoint that is scored, and the criterion that chose it on validation rows."""

    epoch: int | None
    step: int | None
    criterion: str


@dataclasses.dataclass(frozen=True)
class TrainingInfo:
    """How the run was trained.

    Attributes:
      epochs: epochs that were trained; None for a classical head.
      seconds: of training, all sittings together.
      device: number and kind of the devices.
      features: what of the network was computed once, in words, or None.
      head: the classical classifier on the features, or None.
      setting: its setting, chosen on validation rows.
    """

    epochs: int | None
    seconds: float
    device: str
    features: str | None = None
    head: str | None = None
    setting: float | None = None


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What the reports of all runs have in common.

    Attributes:
      schema: `SCHEMA`.
      task: classification, reconstruction or segmentation.
      system: name of the system.
      title: its title.
      classes: class names in the order of the labels.
      protocol: how the split keeps patients apart.
      split: see `SplitInfo`.
      counts: slices and patients of each side.
      data: see `DataInfo`.
      checkpoint: see `CheckpointInfo`.
      training: see `TrainingInfo`.
      config: of the run, as in config.json.
      versions: of the packages that made it.
    """

    schema: int
    task: str
    system: str
    title: str
    classes: tuple[str, ...]
    protocol: str
    split: SplitInfo
    counts: dict[str, Count]
    data: DataInfo
    checkpoint: CheckpointInfo
    training: TrainingInfo
    config: dict[str, Any]
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class ClassifierReport(RunInfo):
    """A classifier's scores.

    Attributes:
      test: on the test rows, on which nothing was chosen.
      validation: on the validation rows, which chose the checkpoint; None where these were trained on as well.
      held_out: on both together, or None.
      baselines: `class_prior` and `linear_model`, on the test rows.
      reliability: confidence beside accuracy, of the test rows.
      reliability_by_patient: of one prediction a patient, or None without ids.
      temperature: fitted on the validation rows, scored on the test rows; None without validation rows.
      conformal: prediction sets calibrated on the validation rows, scored on the test rows; none without them.
      selective: what it scores on the test rows of which it is surest.
      outlines: how well it outlines the tumours of the test rows, of a network that does; None for others, and for
        slices without masks.
      outlines_validation: the same of the validation rows; None too where these were trained on as well, and in early
        reports.
      parts: accuracy and recalls of the test rows by source and by plane, where these are known.
      sources: the classes of each source over the whole data set, where patient ids tell several. Both are empty in
        early reports.
    """

    test: Scores
    validation: Scores | None
    held_out: Scores | None
    baselines: dict[str, Scores]
    reliability: Reliability
    reliability_by_patient: Reliability | None
    temperature: Temperature | None
    conformal: tuple[ConformalScores, ...]
    selective: Selective
    outlines: SegmentationScores | None = None
    outlines_validation: SegmentationScores | None = None
    parts: tuple[GroupRow, ...] = ()
    sources: tuple[SourceRow, ...] = ()


@dataclasses.dataclass(frozen=True)
class RankingReport(RunInfo):
    """How well the nearest training slices share the class of the test slices.

    Attributes:
      test: of the whole database.
      others: of the database without slices of the query's own family.
    """

    test: RetrievalScores
    others: RetrievalScores


@dataclasses.dataclass(frozen=True)
class ReconstructionReport(RunInfo):
    """An autoencoder's scores on the test rows and on the validation rows."""

    test: ReconstructionScores
    validation: ReconstructionScores


@dataclasses.dataclass(frozen=True)
class SegmentationReport(RunInfo):
    """A segmenter's scores on the test rows, and on the validation rows; None where these were trained on as well."""

    test: SegmentationScores
    validation: SegmentationScores | None


Kind = TypeVar("Kind")
Report = ClassifierReport | ReconstructionReport | SegmentationReport | RankingReport

_KINDS: dict[str, type[Report]] = {
    "classification": ClassifierReport,
    "reconstruction": ReconstructionReport,
    "segmentation": SegmentationReport,
    "retrieval": RankingReport,
}


def write_report(path: pathlib.Path, report: Report) -> None:
    """Writes a report as JSON, complete or not at all."""
    write_json(path, msgspec.to_builtins(report))


def read_report(path: pathlib.Path) -> Report:
    """Reads a report.

    Raises:
      InputError: there is none, or it is damaged or of another version.
    """
    task = _values(path).get("task")
    if not isinstance(task, str) or task not in _KINDS:
        raise InputError(f"{path}: task is {task!r}, expected one of {', '.join(_KINDS)}")
    return read_typed(path, _KINDS[task])


def read_typed(path: pathlib.Path, kind: type[Kind], schema: int = SCHEMA) -> Kind:
    """Reads a report of a kind, which a study wrote as JSON.

    Args:
      path: the file.
      kind: a frozen dataclass with a `schema`.
      schema: its present version.

    Raises:
      InputError: there is none, or it is damaged or of another version.
    """
    try:
        return msgspec.convert(_values(path, schema), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: damaged, or not written by btjax: {error}") from None


def _values(path: pathlib.Path, expected: int = SCHEMA) -> dict[str, Any]:
    """The JSON object in a file, of the present version."""
    values = read_json(path, "the report of a finished run")
    schema = values.get("schema", 1) if isinstance(values, dict) else None
    if schema != expected:
        raise InputError(f"{path}: report of schema {schema}, expected {expected}: --eval_only writes it again")
    return values
