"""What a trained classifier scores on another data set than the one that it was trained on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.base.errors import InputError
from btjax.evaluation.baselines import class_prior
from btjax.evaluation.classification import Scores, classification_report
from btjax.links.links import link_between, load_links
from btjax.readers.slices import Slices
from btjax.runs.report import SCHEMA, CheckpointInfo, DataInfo
from btjax.studies.classifier import versions
from btjax.systems.system import find_system

if TYPE_CHECKING:
    import os

    from btjax.base.progress import Observer
    from btjax.runs.run import Run


@dataclasses.dataclass(frozen=True)
class ExternalCounts:
    """Slices of the other data set.

    Attributes:
      found: all of them.
      unknown: slices of classes that the model was not trained on, by class; they are not scored.
      linked: slices of known classes that are linked to a slice of the run's own data set, by class; they are left
        out. None where links were not looked for.
      copies: how many of these have the same pixels as a slice of the run's own.
      tested: slices that are scored.
      patients: patients of these, or None where ids are unknown.
    """

    found: int
    unknown: dict[str, int]
    linked: dict[str, int] | None
    copies: int | None
    tested: int
    patients: int | None


@dataclasses.dataclass(frozen=True)
class ExternalReport:
    """A classifier's scores on another data set.

    Attributes:
      schema: `SCHEMA`.
      task: external.
      system: name of the system.
      title: its title.
      classes: the model's class names in the order of the labels.
      run: the run's folder.
      own: the data set that it was trained on.
      other: the data set that it was tested on.
      counts: see `ExternalCounts`.
      checkpoint: the checkpoint that is scored; validation rows of the run's own data set chose it.
      test: scores of the slices that are tested.
      linked_too: scores of these and of the linked slices together; None where none is linked.
      unknown_predictions: for each class that the model does not know, how many of its slices are called what.
      baselines: `class_prior`: the class frequencies of the run's own data set alone.
      config: of the run.
      versions: of the packages.
    """

    schema: int
    task: str
    system: str
    title: str
    classes: tuple[str, ...]
    run: str
    own: DataInfo
    other: DataInfo
    counts: ExternalCounts
    checkpoint: CheckpointInfo
    test: Scores
    linked_too: Scores | None
    unknown_predictions: dict[str, dict[str, int]]
    baselines: dict[str, Scores]
    config: dict[str, Any]
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class External:
    """Another data set as a model sees it.

    Attributes:
      slices: the other data set.
      labels: int32 [N], index into the model's classes, -1 for classes that it does not know.
      linked: bool [N], slices that are linked to a slice of the run's own data set, or None.
      copied: bool [N], slices that are the same pixels as one of them, or None.
      logits: float32 [N, C].
    """

    slices: Slices
    labels: np.ndarray
    linked: np.ndarray | None
    copied: np.ndarray | None
    logits: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Rows of classes that the model knows."""
        return np.flatnonzero(self.labels >= 0)

    @property
    def tested(self) -> np.ndarray:
        """Rows that are scored."""
        return np.flatnonzero((self.labels >= 0) & (True if self.linked is None else ~self.linked))


def open_external(
    run: Run,
    own: Slices | None,
    other: Slices,
    observer: Observer,
    cache_dir: str | os.PathLike | None = None,
) -> External:
    """Predicts another data set, and finds which of its slices the run may have seen.

    Args:
      run: a classifier's.
      own: the data set that it was trained on, at its size; None looks for no links to it. Links within the other
        set are found anyway where its patients are unknown, for the intervals.
      other: the other data set, at the run's size.
      observer: is told of the search for links.
      cache_dir: where links are kept.

    Raises:
      InputError: slices without labels, none of a class that the model knows, or none that is not linked.
    """
    labels = match_classes(other, run.classes)
    if other.patients is None:
        other = dataclasses.replace(other, links=load_links(other, cache_dir, observer.on_data).groups)
    linked = copied = None
    if own is not None:
        links = link_between(own, other, observer.on_data)
        linked, copied = np.zeros(len(other), bool), np.zeros(len(other), bool)
        linked[links.pairs[:, 1]] = True
        copied[links.pairs[links.kinds == "copy", 1]] = True
    external = External(other, labels, linked, copied, run.logits(other.images))
    if not len(external.tested):
        raise InputError(
            "all slices of known classes are linked to the run's own data set: there is nothing to test on"
        )
    return external


def match_classes(slices: Slices, classes: tuple[str, ...]) -> np.ndarray:
    """Labels of slices as a model counts them, by the names of the classes.

    Args:
      slices: the data set.
      classes: the model's.

    Returns:
      int32 [N], index into `classes`; -1 for a class that is not among them.

    Raises:
      InputError: labels are not known, or no class is among the model's.
    """
    if slices.labels is None:
        raise InputError("the other data set's labels are not known, expected class folders or a column label")
    place = np.array([classes.index(name) if name in classes else -1 for name in slices.classes], np.int32)
    labels = place[slices.labels]
    if not np.any(labels >= 0):
        found = ", ".join(slices.classes)
        raise InputError(
            f"the other data set has the classes {found}; the model knows none, expected {', '.join(classes)}"
        )
    return labels


def external_report(run: Run, own: DataInfo | None, other: DataInfo, external: External) -> ExternalReport:
    """Scores a run on another data set.

    Args:
      run: a classifier's.
      own: the data set that it was trained on as it was read now, where links were looked for.
      other: what is known of the other data set.
      external: of `open_external`.
    """
    slices, labels, tested = external.slices, external.labels, external.tested
    former = run.report

    def score(logits: np.ndarray, rows: np.ndarray) -> Scores:
        return classification_report(
            logits,
            labels[rows],
            classes=run.classes,
            patients=None if slices.patients is None else slices.patients[rows],
            groups=None if slices.links is None or slices.patients is not None else slices.links[rows],
        )

    trained = run.predictions.side("train").labels
    prior = class_prior(trained, len(tested), classes=len(run.classes))
    return ExternalReport(
        schema=SCHEMA,
        task="external",
        system=run.config.system,
        title=find_system(run.config.system).title,
        classes=run.classes,
        run=str(run.folder),
        own=former.data if own is None else own,
        other=other,
        counts=_counts(external, run.classes),
        checkpoint=former.checkpoint,
        test=score(external.logits[tested], tested),
        linked_too=None
        if len(tested) == len(external.known)
        else score(external.logits[external.known], external.known),
        unknown_predictions=_unknown_predictions(external, run.classes),
        baselines={"class_prior": score(prior, tested)},
        config=run.config.to_json(),
        versions=versions(),
    )


def _counts(external: External, classes: tuple[str, ...]) -> ExternalCounts:
    slices, labels, tested = external.slices, external.labels, external.tested
    linked = None
    if external.linked is not None:
        left_out = labels[external.linked & (labels >= 0)]
        linked = {name: int(np.sum(left_out == index)) for index, name in enumerate(classes)}
    return ExternalCounts(
        found=len(slices),
        unknown={name: int(np.sum(rows)) for name, rows in _unknown(external)},
        linked=linked,
        copies=None if external.copied is None else int(np.sum(external.copied & (labels >= 0))),
        tested=len(tested),
        patients=None if slices.patients is None else len(np.unique(slices.patients[tested])),
    )


def _unknown_predictions(external: External, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """For each class that the model does not know, how many slices it calls what."""
    called = external.logits.argmax(axis=1)
    return {
        name: {guess: int(np.sum(called[rows] == index)) for index, guess in enumerate(classes)}
        for name, rows in _unknown(external)
    }


def _unknown(external: External) -> list[tuple[str, np.ndarray]]:
    """The classes that the model does not know, with their rows as bool [N]."""
    slices, unknown = external.slices, external.labels < 0
    if slices.labels is None:
        return []
    named = [(name, unknown & (slices.labels == index)) for index, name in enumerate(slices.classes)]
    return [(name, rows) for name, rows in named if rows.any()]
