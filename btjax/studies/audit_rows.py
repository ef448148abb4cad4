"""What an audit of shortcuts finds: frozen records, written as audit.json."""

from __future__ import annotations

import dataclasses

from btjax.evaluation.estimates import Estimate
from btjax.evaluation.parts import GroupRow, SourceRow

SCHEMA = 1
"""The version of audit.json."""


@dataclasses.dataclass(frozen=True)
class RecallGap:
    """By how much a class is better recognised in one part than in the other tested rows of the class.

    Attributes:
      group: source, plane or size.
      value: the part.
      class_name: the class.
      recall: in the part.
      elsewhere: in the other parts.
      gap: the first less the second.
    """

    group: str
    value: str
    class_name: str
    recall: Estimate
    elsewhere: Estimate
    gap: Estimate


@dataclasses.dataclass(frozen=True)
class AloneRow:
    """Balanced accuracy on the tested rows of one source, where the source cannot tell the class.

    Attributes:
      source: such as numeric.
      model: the audited model, trained on every source.
      linear_all: the linear model, trained on every source.
      linear_alone: the linear model, trained on this source's training rows.
      chance: 1 / the number of classes with rows of this source.
    """

    source: str
    model: Estimate
    linear_all: Estimate
    linear_alone: Estimate
    chance: float


@dataclasses.dataclass(frozen=True)
class FloorRow:
    """A model of something else than the tumour, trained and tested under the same splits.

    Attributes:
      name: `class_prior`, `border`, `statistics`, `linear_model`, `linear_head_only` or `model_head_only`.
      accuracy: on the tested rows.
      balanced_accuracy: the mean of the classes' recalls.
      behind: the audited model's accuracy less this one's, of the same rows.
    """

    name: str
    accuracy: Estimate
    balanced_accuracy: Estimate
    behind: Estimate


@dataclasses.dataclass(frozen=True)
class AreaRow:
    """How well one class is told from the rest: area under the ROC curve.

    Attributes:
      class_name: the class.
      plane: of the rows, or all.
      source: of the class's rows (the rest stays whole), or all.
      border: by the border alone.
      model: by the audited model.
    """

    class_name: str
    plane: str
    source: str
    border: Estimate
    model: Estimate


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """How well a linear probe tells the source: area under the ROC curve, .5 is chance.

    Attributes:
      source: the source that is told from the others.
      within: the class whose rows are looked at, or all.
      features: by the model's features.
      border: by the border alone.
    """

    source: str
    within: str
    features: Estimate
    border: Estimate


@dataclasses.dataclass(frozen=True)
class Leaks:
    """Tested rows of which the model may know something from training; validation rows count as trained on.

    Attributes:
      rows: tested rows.
      copies: of these, rows whose pixels equal a trained row's.
      patients: of these, rows whose patient has trained rows; None where ids are unknown.
      families: the same of families of ids.
      links: the same of groups of linked slices; None where links were not looked for.
      known: accuracy on rows with a family member (else a linked row) in training.
      unknown: accuracy on the others.
      gap: the first less the second.
    """

    rows: int
    copies: int
    patients: int | None
    families: int | None
    links: int | None
    known: Estimate
    unknown: Estimate
    gap: Estimate


@dataclasses.dataclass(frozen=True)
class LabelCheck:
    """Whether labels go with the pixels.

    Attributes:
      model: the audited model's balanced accuracy on the tested rows.
      linear: the linear model's.
      chance: 1 / the number of tested classes, what class frequencies alone have.
      training: the audited model's balanced accuracy on its training rows, or None where it is not known.
      mixed: patients (else groups of linked slices) whose slices bear several classes; None where unknown.
      several: patients with more than one slice.
    """

    model: Estimate
    linear: Estimate
    chance: float
    training: float | None
    mixed: int | None
    several: int | None


@dataclasses.dataclass(frozen=True)
class Flag:
    """Something that a reader of the accuracy must know.

    Attributes:
      name: `one_class_source`, `recall`, `floor`, `border`, `probe`, `leak`, `copies` or `labels`.
      sentence: in plain words, with the number.
      evidence: the numbers by name.
    """

    name: str
    sentence: str
    evidence: dict[str, float | int | str | None]


@dataclasses.dataclass(frozen=True)
class Audit:
    """Whether a classifier uses the source, the border or the size instead of the tumour.

    Attributes:
      schema: `SCHEMA`.
      title: of what was audited.
      protocols: of the splits, each once.
      classes: names in the order of the labels.
      runs: how many predictions were pooled.
      rows: tested rows, of all runs.
      unit: what the intervals go by: family, group (of linked slices) or slice.
      units: how many of these.
      accuracy: the model's, on all tested rows.
      balanced_accuracy: the mean of its recalls.
      groups: accuracy and recall by source, plane and size.
      gaps: where recall differs.
      sources: the classes of each source.
      alone: each source with several classes by itself.
      floors: what has to be beaten.
      areas: each class against the rest, by the border alone.
      probes: the source from the model's features.
      leaks: what the test rows share with training.
      labels: whether labels go with the pixels.
      flags: what a reader must know, most serious first.
      left_out: part -> why it could not be estimates.
    """

    schema: int
    title: str
    protocols: tuple[str, ...]
    classes: tuple[str, ...]
    runs: int
    rows: int
    unit: str
    units: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    groups: tuple[GroupRow, ...]
    gaps: tuple[RecallGap, ...]
    sources: tuple[SourceRow, ...]
    alone: tuple[AloneRow, ...]
    floors: tuple[FloorRow, ...]
    areas: tuple[AreaRow, ...]
    probes: tuple[ProbeRow, ...]
    leaks: Leaks
    labels: LabelCheck
    flags: tuple[Flag, ...]
    left_out: dict[str, str]
