"""What runs say of slices: calibrated probabilities, a conformal set, how typical a slice is, or no answer at all."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.evaluation.calibration import fit_temperature
from btjax.evaluation.conformal import Calibrated
from btjax.evaluation.labelled import Labelled
from btjax.evaluation.typical import ANSWERED, Seen, Typical
from btjax.readers.raw import prepare
from btjax.runs.run import PREDICTIONS
from btjax.runs.seen import Arrays, Eye

if TYPE_CHECKING:
    from collections.abc import Sequence

    from btjax.readers.raw import RawSlice
    from btjax.runs.run import Run

LEVEL = 0.95
"""The share of slices of each class whose conformal set is to hold the class."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is said of one slice.

    Attributes:
      file: the file as it may be shown, relative to the given path.
      slice: which of the file's slices; "" where there is one.
      answered: whether a class is named.
      predicted: the most probable class where one is named, else "".
      reason: why none is named: the file cannot be read, or the slice is unlike those of the training. "" otherwise.
      probabilities: of each class, calibrated by the run's temperature; None of a file that cannot be read.
      fitting: the conformal set, the classes that fit; None where the run has no validation rows to calibrate it.
      typicality: the share of validation slices that are at least as strange, 0 to 1; None where it is not asked for.
      label: the class that the file's own folder or the file tells, or "".
      remarks: what reading changed, such as "turned upright by its EXIF orientation".
    """

    file: str
    slice: str
    answered: bool
    predicted: str
    reason: str
    probabilities: dict[str, float] | None = None
    fitting: tuple[str, ...] | None = None
    typicality: float | None = None
    label: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def likeliest(self) -> tuple[str, float]:
        """The most probable class and its probability, whether it is named or not; ("", 0) of no slice."""
        if not self.probabilities:
            return "", 0.0
        return max(self.probabilities.items(), key=lambda pair: pair[1])

    @property
    def doubt(self) -> float:
        """What pages are sorted by: above 1 where nothing is named, else 1 less the probability of the class."""
        if self.answered:
            return 1 - self.likeliest[1]
        return 2 - (self.typicality or 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """A run that predicts.

    Attributes:
      eye: its network.
      temperature: its logits are divided by it; 1 where there are no validation rows.
      calibration: what its conformal sets are counted from, or None without validation rows.
      typical: what it was trained on, or None where it answers always.
      order: int [C], the place of each of the ensemble's classes among the run's.
    """

    eye: Eye
    temperature: float
    calibration: Calibrated | None
    typical: Typical | None
    order: np.ndarray

    @property
    def preparation(self) -> tuple[int, str, bool]:
        """Size, intensity range and head mask of its slices."""
        data = self.eye.run.config.data
        return data.image_size, data.intensity_range, data.head_mask


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """What an ensemble says of N slices.

    Attributes:
      probabilities: float64 [N, C].
      p_values: float64 [N, C], or None.
      typicality: float64 [N], or None.
    """

    probabilities: np.ndarray
    p_values: np.ndarray | None
    typicality: np.ndarray | None


Prepared = dict[tuple[int, str, bool], np.ndarray]
"""A slice as each of the members' preparations gives it: uint8 [S, S]."""


class Ensemble:
    """One run or several of the same classes, which predict together.

    Probabilities, conformal p-values and typicality are means over the runs. The mean of p-values promises less than
    each alone: at worst twice the share of misses (Vovk and Wang 2020).
    """

    def __init__(self, runs: Sequence[Run], typical: Sequence[Typical | None]) -> None:
        """Restores the runs.

        Raises:
          InputError: no run, one without a network, or runs of different classes.
        """
        import threadpoolctl

        if not runs:
            raise InputError("no run, expected the folder of at least one")
        self.classes = runs[0].classes
        self.members: list[Member] = []
        for run, known in zip(runs, typical, strict=True):
            if set(run.classes) != set(self.classes):
                found = f"{run.folder}: its classes are {', '.join(run.classes)}"
                raise InputError(f"{found}, expected those of {runs[0].folder}: {', '.join(self.classes)}")
            order = np.array([run.classes.index(name) for name in self.classes])
            temperature, rows = calibration_of(run)
            calibration = None if rows is None else Calibrated.of(rows)
            self.members.append(Member(Eye(run, wide=known is not None), temperature, calibration, known, order))
        self._libraries = threadpoolctl.ThreadpoolController()

    @property
    def calibrated(self) -> bool:
        """Whether every run has validation rows, which temperature and sets are fitted on."""
        return all(member.calibration is not None for member in self.members)

    @property
    def abstains(self) -> bool:
        """Whether untypical slices get no answer."""
        return all(member.typical is not None for member in self.members)

    def prepare(self, raw: RawSlice) -> Prepared:
        """The slice as each member takes it, by the one way from files to uint8; see `btjax.readers.raw.prepare`."""
        wanted = dict.fromkeys(member.preparation for member in self.members)
        return {one: prepare(dataclasses.replace(raw, mask=None), *one)[0] for one in wanted}

    def start(self, batch: Sequence[Prepared], size: int) -> list[Arrays]:
        """Starts all networks on a batch, filled up to `size` rows with its last."""
        filled = [*batch, *[batch[-1]] * (size - len(batch))]
        stacks = {one: np.stack([slices[one] for slices in filled]) for one in batch[0]}
        return [member.eye.start(stacks[member.preparation]) for member in self.members]

    def finish(self, started: Sequence[Arrays], rows: int) -> Verdicts:
        """Waits for what `start` began, and says what the first `rows` rows are."""
        from scipy.special import softmax

        probabilities, p_values, typicality = [], [], []
        for member, arrays in zip(self.members, started, strict=True):
            seen = member.eye.finish(arrays)
            seen = Seen(*(array[:rows] for array in (seen.logits, seen.deep, seen.wide)))
            scaled = softmax(np.asarray(seen.logits, np.float64) / member.temperature, axis=1)
            probabilities.append(scaled[:, member.order])
            if member.calibration is not None:
                p_values.append(member.calibration.p_values(seen.logits)[:, member.order])
            if member.typical is not None:
                # The networks keep all cores busy; more threads of a second library would only wait for each other.
                with self._libraries.limit(limits=1, user_api="blas"):
                    typicality.append(member.typical.typicality(seen))
        return Verdicts(
            np.mean(probabilities, axis=0),
            np.mean(p_values, axis=0) if self.calibrated else None,
            np.mean(typicality, axis=0) if self.abstains else None,
        )

    def answer(self, verdicts: Verdicts, row: int, fields: dict) -> Answer:
        """The answer to one row; `fields` are the slice's own: file, slice, label, remarks."""
        chances = verdicts.probabilities[row]
        fitting, typicality, reason = None, None, ""
        if verdicts.p_values is not None:
            holds = verdicts.p_values[row] > 1 - LEVEL + 1e-9
            fitting = tuple(name for name, held in zip(self.classes, holds, strict=True) if held)
        if verdicts.typicality is not None:
            typicality = float(verdicts.typicality[row])
            if typicality < 1 - ANSWERED:
                reason = (
                    f"unlike the slices that it was trained on: {typicality:.1%} of the validation slices are as "
                    f"strange, expected at least {1 - ANSWERED:.0%}"
                )
        return Answer(
            **fields,
            answered=not reason,
            predicted="" if reason else self.classes[int(chances.argmax())],
            reason=reason,
            probabilities={name: float(value) for name, value in zip(self.classes, chances, strict=True)},
            fitting=fitting,
            typicality=typicality,
        )


def calibration_of(run: Run) -> tuple[float, Labelled | None]:
    """The temperature of a run's logits, and the validation rows that it is fitted on; 1 and None without any."""
    if not (run.folder / PREDICTIONS).exists():
        return 1.0, None
    rows = run.predictions.side("validation")
    if not len(rows):
        return 1.0, None
    return fit_temperature(rows.logits, rows.labels), Labelled(rows.logits, rows.labels, rows.patients)
