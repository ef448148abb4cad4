"""The rows of the saliency tables: frozen dataclasses, and the report that holds them."""

from __future__ import annotations

import dataclasses
from typing import Any

Interval = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """The mean of a score of a method over a group of slices.

    Attributes:
      group: "all", or what divides the slices: class, correctness (of the decision: correct, wrong), plane, size.
      value: "all", or the group's value, such as "axial".
      method: name of the method or control.
      score: name of the score.
      slices: how many.
      patients: how many, or None where the data set does not know them.
      mean: over the slices.
      ci95: its interval, by patient; None for fewer than two patients.
    """

    group: str
    value: str
    method: str
    score: str
    slices: int
    patients: int | None
    mean: float
    ci95: Interval


@dataclasses.dataclass(frozen=True)
class ComparisonRow:
    """A method beside the control with the best mean over the same slices.

    Attributes:
      group, value, method, score, slices, patients, mean: as in `ScoreRow`.
      mean_ci95: interval of the mean.
      best_control: its name.
      control_mean: its mean.
      difference: positive where the method is better, whatever the score's direction.
      difference_ci95: its interval, of the same patients.
      beats_best_control: whether that interval lies above 0.
    """

    group: str
    value: str
    method: str
    score: str
    slices: int
    patients: int | None
    mean: float
    mean_ci95: Interval
    best_control: str
    control_mean: float
    difference: float
    difference_ci95: Interval
    beats_best_control: bool


@dataclasses.dataclass(frozen=True)
class RandomisationRow:
    """What is left of a method's maps when the network up to a stage is random, or was trained on permuted labels.

    Attributes:
      method: its name.
      layer: the lowest stage that is random, "trained", or "permuted labels".
      spearman, spearman_absolute, ssim: similarity to the trained network's maps, means over the slices.
      average_precision: against the masks, or None without masks.
      lost: by how much that fell, with lost_ci95, by patient.
    """

    method: str
    layer: str
    spearman: float
    spearman_absolute: float
    ssim: float
    average_precision: float | None = None
    lost: float | None = None
    lost_ci95: Interval = None


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """The measures of `btjax.saliency.faithfulness` on some slices."""

    slices: int
    rows: tuple[ScoreRow, ...]


@dataclasses.dataclass(frozen=True)
class Randomisation:
    """The rows of `RandomisationRow`; of the network trained on permuted labels its accuracy on these, or None."""

    slices: int
    rows: tuple[RandomisationRow, ...]
    permuted_train_accuracy: float | None = None


@dataclasses.dataclass(frozen=True)
class Localisation:
    """Maps scored against the tumour masks.

    Attributes:
      area_share: the tumours' mean share of the training slices, which iou_top and dice_top select.
      size_edges: the largest small and the largest medium tumour, as shares of the slice.
      chance: what uniform noise expects, by score.
      directions: higher or lower, by score.
      scores: of the methods.
      controls: of the controls.
      comparison: each method beside its best control.
      without_mask: test slices that are left out, since their mask is empty or covers everything.
    """

    area_share: float
    size_edges: tuple[float, float]
    chance: dict[str, float]
    directions: dict[str, str]
    scores: tuple[ScoreRow, ...]
    controls: tuple[ScoreRow, ...]
    comparison: tuple[ComparisonRow, ...]
    without_mask: int = 0


@dataclasses.dataclass(frozen=True)
class SaliencyReport:
    """Everything that is measured of a run's maps.

    Attributes:
      schema: 2; reports of schema 1 were dicts without a version.
      run: the explained run's config, without the places of files.
      epoch, step: of its checkpoint.
      split: fingerprint of its rows.
      composed: of the composed models, where each leaf came from.
      saliency: the options of the study.
      data: the data set's form in words.
      left_out: methods that do not fit the model, with the reason.
      protocol: of the split.
      test_slices, test_patients: how many.
      classes: their names.
      accuracy: of the run on the test slices, 0 to 1.
      zero_maps: by method how many of its maps are zero everywhere; methods without any are left out.
      localisation: or None, for data without masks.
      faithfulness: see there.
      randomisation: see there.
      intervals: the method of all intervals; reports that do not say so have the percentile bootstrap's.
    """

    schema: int
    run: dict[str, Any]
    epoch: int
    step: int
    split: str
    composed: dict[str, dict[str, str]]
    saliency: dict[str, Any]
    data: str
    left_out: dict[str, str]
    protocol: str
    test_slices: int
    test_patients: int | None
    classes: tuple[str, ...]
    accuracy: float
    zero_maps: dict[str, int]
    localisation: Localisation | None
    faithfulness: Faithfulness
    randomisation: Randomisation
    intervals: str = "percentile bootstrap"


SCHEMA = 2
