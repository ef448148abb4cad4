"""Protocols: which slices a model is trained on, chosen on, and tested on.

`slice` is the paper's protocol: slices are assigned at random. Neighbouring slices of a patient look alike, and it
puts them on both sides. `patient` keeps a patient's slices on one side, and `family` those of ids that differ in a
letter alone (see `Slices.families`); `linked` keeps slices together that belong together by their pixels (see
`btjax.links.links`), for data sets without patient ids; `official` takes the data set authors' five folds; `given`
takes the data set's own division into training and test, as of folders Training/ and Testing/.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.readers.slices import SIDES

if TYPE_CHECKING:
    from btjax.readers.slices import Slices

PROTOCOLS = ("slice", "patient", "family", "linked", "official", "given")
"""The names of the protocols; what each keeps on one side is said above."""

_PAPER_TEST_SHARE = 192 / 612  # the paper holds out 20 batches and tests on the first 6
_INNER_FOLDS = 8  # one eighth of what is not tested chooses the checkpoint


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of `Slices` for training, validation and test: every row on one side at most.

    Attributes:
      protocol: one of `PROTOCOLS`.
      fold: which fold is held out, 0 to folds - 1.
      folds: number of folds.
      seed: seed of the shuffle.
      train: int32 rows, ascending.
      validation: int32 rows, ascending; the checkpoint is chosen on these; none where they are trained on as well.
      test: int32 rows, ascending; nothing is chosen on these.
      patients: str [N], the patient of every row, or None.
      families: str [N], the family of every row (see `Slices.families`), or None.
      links: int32 [N], the group of every row by pixels (see `Slices.links`), or None.
      unused: int32 rows, ascending, that are on no side: those that a smaller training set leaves out.

    Raises:
      ValueError: rows that do not cover the data set once, or a group on two sides that the protocol keeps on one.
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
    links: np.ndarray | None = None
    unused: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int32))

    def __post_init__(self):
        rows = np.concatenate([self.train, self.validation, self.test, self.unused])
        if not np.array_equal(np.sort(rows), np.arange(len(rows))):
            raise ValueError("a split must hold every row exactly once")
        guarded = {
            "patient": self.leaked_patients,
            "official": self.leaked_patients,
            "family": self.leaked_families,
            "linked": self.leaked_links,
        }
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
    def leaked_links(self) -> int | None:
        """Groups of linked slices on more than one side; None where links were not looked for."""
        return _count_leaks(self.links, tuple(self.sides().values()))

    def copied(self, digests: np.ndarray) -> np.ndarray:
        """Test rows, int32, that equal a training or validation row; `digests` is `Slices.digests`."""
        seen = digests[np.concatenate([self.train, self.validation])]
        return self.test[np.isin(digests[self.test], seen)]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the three sides' rows."""
        rows = b"".join(rows.astype(np.int32).tobytes() + b"|" for rows in self.sides().values())
        return hashlib.sha256(rows).hexdigest()[:16]

    def sides(self) -> dict[str, np.ndarray]:
        """The three arrays of rows by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def make_split(
    slices: Slices,
    protocol: str,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    *,
    train_slices: int = 0,
    refit: bool = False,
) -> Split:
    """Splits slices by a protocol, stratified by class; the same arguments give the same rows.

    Under `slice` a fold's held-out fifth is divided as in the paper: 192 of 612 are the test rows, the others
    validation (2452 / 420 / 192 of 3064 at fold 0; see `share_tested`). Under the other protocols the whole held-out
    fold is the test set, and an eighth of the remaining groups is the validation set. Under `given` the data set's own
    sides are kept, and of training and validation alone the latter is tested; where it has no validation side, an
    eighth of the training groups becomes one: families, or linked slices where patients are not known.

    Args:
      slices: the data set.
      protocol: one of `PROTOCOLS`.
      fold: the held-out fold, 0 to folds - 1; under `official` the authors' fold minus 1; under `given` 0.
      folds: number of folds, at least 2; `official` has the authors' five.
      seed: seed of the shuffle.
      train_slices: how many slices of the training side are kept, drawn at random with the classes in their shares, so
        that protocols can be compared at one size; 0 for all.
      refit: train on the validation slices too, and have none, as after a choice of options that is over.

    Returns:
      int32 rows of each side, ascending; every row is on one side at most.

    Raises:
      InputError: an unknown protocol, a fold outside the folds, a protocol that needs ids or folds that the data
        set does not have, more folds than a class has groups, slices of one class alone, slices without labels, or
        more training slices than there are.

    Example:
      >>> from btjax.data.phantom import make_phantom
      >>> split = make_split(make_phantom(8, 2, 32), "patient", fold=0, folds=4)
      >>> {side: len(rows) for side, rows in split.sides().items()}, split.leaked_patients
      ({'train': 30, 'validation': 6, 'test': 12}, 0)
    """
    labels = _checked_labels(slices, protocol, fold, folds)
    if protocol == "slice":
        sides = _slice_sides(labels, fold, folds, seed)
    else:
        groups = _Groups(labels, _names(slices, protocol), slices.classes, f"--protocol={protocol}")
        if protocol == "official":
            # Even here a family is kept out of either training or validation: the authors' folds divide families.
            sides = _inner_sides(groups, _official_fold(slices, fold, folds), seed)
        elif protocol == "given":
            sides = _given_sides(groups, slices, fold, seed)
        else:
            flag = f"{groups.flag} --folds={folds}"
            held_out = _grouped_fold(dataclasses.replace(groups, flag=flag), fold, folds, seed)
            sides = _inner_sides(groups, held_out, seed)
    train, validation, test = sides
    if refit:
        train, validation = np.concatenate([train, validation]), np.empty(0, np.int32)
    train, unused = _reduced(train, labels, train_slices, seed)
    train, validation, test, unused = (np.sort(rows).astype(np.int32) for rows in (train, validation, test, unused))
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
        links=slices.links,
        unused=unused,
    )


def _checked_labels(slices: Slices, protocol: str, fold: int, folds: int) -> np.ndarray:
    """The labels of slices that a protocol can divide."""
    if protocol not in PROTOCOLS:
        raise InputError(f"--protocol={protocol}: expected one of {', '.join(PROTOCOLS)}")
    if folds < 2 or not 0 <= fold < folds:
        raise InputError(f"--fold={fold} --folds={folds}: expected at least 2 folds and 0 <= fold < folds")
    labels = slices.labels
    if labels is None:
        raise InputError("the data set's labels are not known, expected class folders or a column label to split by")
    if len(np.unique(labels)) < 2:
        found = "no slices" if not len(labels) else f"slices of {slices.classes[labels[0]]} alone"
        raise InputError(f"the data set has {found}, expected at least two classes")
    return labels


def _reduced(train: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some of the training rows with the classes in their shares, and the others; all where `count` is 0."""
    if count > len(train):
        raise InputError(f"--train_slices={count}: the training side has {len(train)} slices, expected at most those")
    count, train = count or len(train), np.sort(train)
    order = train[_stratified_order(labels[train], seed)]
    return order[:count], order[count:]


def _names(slices: Slices, protocol: str) -> np.ndarray:
    """What a protocol other than `slice` keeps together: the name of each slice's group."""
    if protocol in ("linked", "given"):
        names = slices.links if protocol == "linked" or slices.patients is None else slices.families
        if names is None and not needs_links(slices, protocol):
            return slices.ids  # the set's own three sides are kept as they are: nothing is grouped
        if names is None:
            raise InputError(f"--protocol={protocol}: links between slices are not known, expected Slices.links")
        return names
    names = slices.patients if protocol == "patient" else slices.families
    if names is None:
        others = ["slice", "linked"] + (["given"] if slices.sides is not None else [])
        raise InputError(
            f"--protocol={protocol}: this data set has no patient ids; expected --protocol={' or '.join(others)}"
        )
    return names


def needs_links(slices: Slices, protocol: str) -> bool:
    """Whether a protocol splits slices by `Slices.links`, which `btjax.links.links` finds."""
    whole = slices.sides is not None and set(slices.sides.tolist()) == set(SIDES)
    return protocol == "linked" or (protocol == "given" and slices.patients is None and not whole)


def _slice_sides(labels: np.ndarray, fold: int, folds: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, validation and test rows of the paper's protocol."""
    if len(labels) < 2 * folds:
        raise InputError(f"--folds={folds}: {len(labels)} slices are too few, expected at least {2 * folds}")
    order = _stratified_order(labels, seed)
    bounds = _bounds(len(labels), folds)
    held_out = order[bounds[fold] : bounds[fold + 1]]
    tested = _tested(len(held_out))
    train = np.concatenate([order[: bounds[fold]], order[bounds[fold + 1] :]])
    return train, held_out[tested:], held_out[:tested]


def _bounds(total: int, folds: int) -> np.ndarray:
    """Where the folds of the paper's protocol begin and end, int [folds + 1]."""
    return np.arange(folds + 1) * total // folds


def _tested(held_out: int) -> int:
    """How many of a fold's held-out slices the paper's protocol tests."""
    return max(1, round(held_out * _PAPER_TEST_SHARE))


def share_tested(protocol: str, total: int, folds: int = 5) -> tuple[int, int]:
    """How many slices of a data set all folds of a protocol test together.

    Under `slice` a fold tests only a part of what it holds out (see `make_split`), so that most slices are never
    tested; under the other protocols of several folds every slice is tested once.

    Args:
      protocol: one of `PROTOCOLS`.
      total: number of slices.
      folds: number of folds, each of them run.

    Returns:
      The number of different slices that are tested, and `total`.

    Example:
      >>> share_tested("slice", 3064), share_tested("patient", 3064)
      ((960, 3064), (3064, 3064))
    """
    if protocol != "slice":
        return total, total
    return sum(_tested(int(held_out)) for held_out in np.diff(_bounds(total, folds))), total


def _stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A shuffle in which every run of consecutive rows has the classes in about their overall shares.

    Systematic sampling: the order within a class is random; classes are then interleaved evenly.
    """
    random = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[rows] = (random.permutation(len(rows)) + random.random()) / len(rows)
    return np.argsort(place, kind="stable")


@dataclasses.dataclass(frozen=True, eq=False)
class _Groups:
    """Slices and the groups that stay together: `labels` int32 [N], `names` [N], and the flag for error messages."""

    labels: np.ndarray
    names: np.ndarray
    classes: tuple[str, ...]
    flag: str

    def count(self, label: int) -> int:
        """How many groups have slices of a class."""
        return len(np.unique(self.names[self.labels == label]))

    def take(self, rows: np.ndarray) -> _Groups:
        """The slices of some rows."""
        return dataclasses.replace(self, labels=self.labels[rows], names=self.names[rows])


def _grouped_fold(groups: _Groups, fold: int, folds: int, seed: int) -> np.ndarray:
    """Rows of the held-out fold; no group is in two folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    for label in np.unique(groups.labels):
        count = groups.count(label)
        if count < folds:
            name = groups.classes[label]
            raise InputError(f"{groups.flag}: class {name} has {count} groups, expected at least {folds}")
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    return list(splitter.split(groups.labels, groups.labels, groups.names))[fold][1]


def _official_fold(slices: Slices, fold: int, folds: int) -> np.ndarray:
    """Rows of one of the authors' folds."""
    if slices.folds is None:
        raise InputError("--protocol=official: this data set has no cvind folds; expected cvind.mat or author_fold")
    known = np.unique(slices.folds)
    if folds != len(known):
        raise InputError(f"--folds={folds}: the data set's authors made {len(known)} folds")
    held_out = slices.folds == known[fold]
    if slices.patients is not None:
        divided = np.intersect1d(slices.patients[held_out], slices.patients[~held_out])
        if len(divided):
            found = f"patient {divided[0]} has slices in fold {known[fold]} and in another"
            raise InputError(f"--protocol=official: {found}, expected each patient in one of the authors' folds")
    return np.flatnonzero(held_out)


def _given_sides(groups: _Groups, slices: Slices, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The data set's own sides; where it names but two, the validation rows are taken from its training rows."""
    told = slices.sides
    rows = {} if told is None else {side: np.flatnonzero(told == side) for side in SIDES}
    named = [side for side in SIDES if len(rows.get(side, ()))]
    if told is None or "train" not in named or len(named) < 2:
        found = "has no division of its own" if told is None else f"has {' and '.join(named)} slices alone"
        raise InputError(f"{groups.flag}: the data set {found}, expected folders such as Training/ and Testing/")
    tested = rows[named[-1]]
    untrained = np.setdiff1d(groups.labels[tested], groups.labels[rows["train"]])
    if len(untrained):
        raise InputError(f"{groups.flag}: no training slice is {groups.classes[untrained[0]]}, as some test slices are")
    if fold != 0:
        raise InputError(f"{groups.flag}: the data set has one division of its own, found --fold={fold}, expected 0")
    if len(named) == 3:
        return rows["train"], rows["validation"], rows["test"]
    return _inner_sides(groups, rows[named[1]], seed)


def _inner_sides(groups: _Groups, held_out: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, validation and test rows: what is not held out is divided into train and validation, by group."""
    rest = np.setdiff1d(np.arange(len(groups.labels)), held_out)
    inner = groups.take(rest)
    folds = min([_INNER_FOLDS, *(inner.count(label) for label in np.unique(groups.labels))])
    if folds < 2:
        raise InputError(f"{groups.flag}: too few groups outside the test fold to hold out a validation set")
    chosen = rest[_grouped_fold(inner, 0, folds, seed)]
    return np.setdiff1d(rest, chosen), chosen, held_out


def _count_leaks(groups: np.ndarray | None, sides: tuple[np.ndarray, ...]) -> int | None:
    """How many groups have rows on more than one side."""
    if groups is None:
        return None
    members = np.concatenate([np.unique(groups[side]) for side in sides])
    _, counts = np.unique(members, return_counts=True)
    return int(np.sum(counts > 1))
