"""Protocols: which slices a model learns from, is chosen on, and is tested on.

`slice` is the paper's protocol: slices are dealt out at random, so that a patient's neighbouring slices stand on
both sides. `patient` and `family` keep a patient (a family of ids of one person) on one side; `official` takes the
data set authors' five folds.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from btjax.base.errors import InputError
from btjax.data.slices import CLASSES, Slices

PROTOCOLS = ("slice", "patient", "family", "official")

_PAPER_TEST_SHARE = 192 / 612  # the paper holds out 20 batches and tests on the first 6
_INNER_FOLDS = 8  # one eighth of what is not tested chooses the checkpoint


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of `Slices` for training, validation and test: disjoint, together every row.

    Attributes:
      protocol: one of `PROTOCOLS`.
      fold: which fold is held out, 0 to folds - 1.
      folds: number of folds.
      seed: seed of the shuffle.
      train: int32 rows, ascending.
      validation: int32 rows, ascending; the checkpoint is chosen on these.
      test: int32 rows, ascending; nothing is chosen on these.
      patients: str [N], the patient of every row, or None.
      families: str [N], the family of every row (see `Slices.families`), or None.

    Raises:
      ValueError: rows that do not cover the data set once, or a group that the protocol keeps on one side and that
        stands on two.
    """

    protocol: str
    fold: int
    folds: int
    seed: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    patients: np.ndarray | None
    families: np.ndarray | None

    def __post_init__(self):
        rows = np.concatenate([self.train, self.validation, self.test])
        if not np.array_equal(np.sort(rows), np.arange(len(rows))):
            raise ValueError("a split must hold every row exactly once")
        guarded = {"patient": self.leaked_patients, "official": self.leaked_patients, "family": self.leaked_families}
        if guarded.get(self.protocol, 0) != 0:
            raise ValueError(f"protocol {self.protocol} with {guarded[self.protocol]} groups on more than one side")

    @property
    def leaked_patients(self) -> int | None:
        """Patients with slices on more than one side; None where ids are unknown."""
        return _count_leaks(self.patients, tuple(self.sides().values()))

    @property
    def leaked_families(self) -> int | None:
        """Families with slices on more than one side; None where ids are unknown."""
        return _count_leaks(self.families, tuple(self.sides().values()))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the three sides' rows."""
        rows = b"".join(rows.astype(np.int32).tobytes() + b"|" for rows in self.sides().values())
        return hashlib.sha256(rows).hexdigest()[:16]

    def sides(self) -> dict[str, np.ndarray]:
        """The three arrays of rows by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def make_split(slices: Slices, protocol: str, fold: int = 0, folds: int = 5, seed: int = 0) -> Split:
    """Splits slices by a protocol, stratified by class; the same arguments give the same rows.

    Under `slice` a fold's held-out fifth is divided as the paper's: 192 of 612 are the test rows, the others
    validation (2452 / 420 / 192 of 3064 at fold 0). Under the other protocols the whole held-out fold is the test
    set, and an eighth of the remaining groups is the validation set.

    Args:
      slices: the data set.
      protocol: one of `PROTOCOLS`.
      fold: the held-out fold, 0 to folds - 1; under `official` the authors' fold minus 1.
      folds: number of folds, at least 2; `official` has the authors' five.
      seed: seed of the shuffle.

    Raises:
      InputError: an unknown protocol, a fold outside the folds, a protocol that needs ids or folds that the data
        set does not have, more folds than a class has groups, or slices of one class alone.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"--protocol={protocol}: expected one of {', '.join(PROTOCOLS)}")
    if folds < 2 or not 0 <= fold < folds:
        raise InputError(f"--fold={fold} --folds={folds}: expected at least 2 folds and 0 <= fold < folds")
    if protocol != "slice" and slices.patients is None:
        raise InputError(f"--protocol={protocol}: this data set has no patient ids; only --protocol=slice can be used")
    if len(np.unique(slices.labels)) < 2:
        raise InputError(f"the data set has slices of {CLASSES[slices.labels[0]]} alone, expected at least two classes")
    if protocol == "slice":
        sides = _slice_sides(slices.labels, fold, folds, seed)
    elif protocol == "official":
        sides = _official_sides(slices, fold, folds, seed)
    else:
        groups = slices.patients if protocol == "patient" else slices.families
        held_out = _grouped_fold(slices.labels, groups, fold, folds, seed, f"--protocol={protocol} --folds={folds}")
        sides = _inner_sides(slices.labels, groups, held_out, seed, f"--protocol={protocol}")
    train, validation, test = (np.sort(side).astype(np.int32) for side in sides)
    return Split(
        protocol=protocol,
        fold=fold,
        folds=folds,
        seed=seed,
        train=train,
        validation=validation,
        test=test,
        patients=slices.patients,
        families=slices.families,
    )


def _slice_sides(labels: np.ndarray, fold: int, folds: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, validation and test rows of the paper's protocol."""
    if len(labels) < 2 * folds:
        raise InputError(f"--folds={folds}: {len(labels)} slices are too few, expected at least {2 * folds}")
    order = _stratified_order(labels, seed)
    bounds = np.arange(folds + 1) * len(labels) // folds
    held_out = order[bounds[fold] : bounds[fold + 1]]
    tested = max(1, round(len(held_out) * _PAPER_TEST_SHARE))
    train = np.concatenate([order[: bounds[fold]], order[bounds[fold + 1] :]])
    return train, held_out[tested:], held_out[:tested]


def _stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A shuffle in which every run of neighbours has the classes in about their overall shares.

    Systematic sampling: within its class a row's place is random; classes are then interleaved evenly.
    """
    random = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[rows] = (random.permutation(len(rows)) + random.random()) / len(rows)
    return np.argsort(place, kind="stable")


def _grouped_fold(labels, groups, fold, folds, seed, flag) -> np.ndarray:
    """Rows of the held-out fold; no group stands in two folds."""
    for label in np.unique(labels):
        members = len(np.unique(groups[labels == label]))
        if members < folds:
            raise InputError(f"{flag}: class {CLASSES[label]} has {members} groups, expected at least {folds}")
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))[fold][1]


def _official_sides(slices, fold, folds, seed):
    """Train, validation and test rows for one of the authors' folds."""
    if slices.folds is None:
        raise InputError("--protocol=official: this data set has no cvind folds; expected cvind.mat or author_fold")
    known = np.unique(slices.folds)
    if folds != len(known):
        raise InputError(f"--folds={folds}: the data set's authors made {len(known)} folds")
    # Validation is kept apart by family even here: the authors' folds divide families, which would flatter it.
    held_out = np.flatnonzero(slices.folds == known[fold])
    return _inner_sides(slices.labels, slices.families, held_out, seed, "--protocol=official")


def _inner_sides(labels, groups, held_out, seed, flag):
    """Divides what is not held out into train and validation, by group."""
    rest = np.setdiff1d(np.arange(len(labels)), held_out)
    inner = min([_INNER_FOLDS, *(len(np.unique(groups[rest][labels[rest] == label])) for label in np.unique(labels))])
    if inner < 2:
        raise InputError(f"{flag}: too few patients outside the test fold to hold out a validation set")
    chosen = rest[_grouped_fold(labels[rest], groups[rest], 0, inner, seed, flag)]
    return np.setdiff1d(rest, chosen), chosen, held_out


def _count_leaks(groups: np.ndarray | None, sides: tuple[np.ndarray, ...]) -> int | None:
    """How many groups have rows on more than one side."""
    if groups is None:
        return None
    members = np.concatenate([np.unique(groups[side]) for side in sides])
    _, counts = np.unique(members, return_counts=True)
    return int(np.sum(counts > 1))
