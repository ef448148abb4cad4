"""How well a run knows when not to answer: photographs, noise, synthetic heads and other people's files beside its own.

None of these slices chose anything; the threshold is that of the run's validation slices.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from btjax.data.phantom import make_phantom
from btjax.evaluation.typical import ANSWERED, PARTS, Seen, auroc
from btjax.prediction.answers import Ensemble
from btjax.prediction.inputs import Listing, list_arrays
from btjax.prediction.stream import prepared_of, side_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from btjax.evaluation.typical import Typical
    from btjax.runs.run import Run

SCHEMA = 1
"""The version of unknown.json."""

PHOTOGRAPHS = (
    *("astronaut", "camera", "brick", "grass", "gravel", "coffee", "chelsea", "rocket", "hubble_deep_field"),
    *("immunohistochemistry", "coins", "page", "text", "clock", "moon", "retina", "colorwheel", "cell", "cat"),
    *("horse", "logo", "microaneurysms"),
)
"""Pictures that come with scikit-image, none of them of a head in a scanner."""

_COUNT = 100


@dataclasses.dataclass(frozen=True)
class UnknownSet:
    """Slices that a run should not answer, or should.

    Attributes:
      name: of the set.
      slices: how many.
      auroc: the chance that one of them is stranger than one of the run's test slices.
      auroc_of: the same by each part of the score alone.
      answered: the share that gets an answer all the same.
    """

    name: str
    slices: int
    auroc: float
    auroc_of: dict[str, float]
    answered: float


@dataclasses.dataclass(frozen=True)
class UnknownReport:
    """How well a run knows when not to answer.

    Attributes:
      schema: `SCHEMA`.
      system: name of the system.
      protocol: of the run's split.
      image_size: of its slices.
      threshold: the share of validation slices that are answered.
      test_slices: the run's own.
      test_answered: the share of these that is answered.
      unknown: the other sets.
    """

    schema: int
    system: str
    protocol: str
    image_size: int
    threshold: float
    test_slices: int
    test_answered: float
    unknown: tuple[UnknownSet, ...]


def made_sets(size: int, seed: int = 0) -> dict[str, Listing]:
    """What needs no data set: scikit-image's pictures, noise of single pixels, smooth noise, and synthetic heads.

    Args:
      size: S, side of noise and heads in pixels.
      seed: of both.
    """
    import skimage.color
    import skimage.data
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    pictures = []
    for name in PHOTOGRAPHS:
        picture = np.asarray(getattr(skimage.data, name)())
        pictures.append(skimage.color.rgb2gray(picture[..., :3]) if picture.ndim == 3 else picture.astype(np.float64))
    noise = random.integers(0, 256, (_COUNT, size, size))
    widths = np.repeat([1, 2, 4, 8, 16], _COUNT // 5)
    smooth = [gaussian_filter(random.random((size, size)), width, mode="wrap") for width in widths]
    return {
        "photographs": list_arrays(pictures),
        "noise": list_arrays(noise),
        "smooth noise": list_arrays(smooth),
        "synthetic heads": list_arrays(make_phantom(20, 2, size, seed).images),
    }


def measure_unknown(run: Run, typical: Typical, tested: Seen, sets: Mapping[str, Listing]) -> UnknownReport:
    """Scores sets of slices beside the run's own test slices.

    Args:
      run: a classifier's.
      typical: see `btjax.studies.typical.typical_of`.
      tested: what its network makes of its test slices.
      sets: the other slices, by name; each of at least one that can be read.

    Raises:
      InputError: a slice that cannot be read.
    """
    ensemble = Ensemble([run], [typical])
    eye, own, own_parts = ensemble.members[0].eye, typical.strangeness(tested), typical.parts(tested)
    rows = []
    for name, listing in sets.items():
        images = np.stack([side_of(prepared_of(ensemble, item), ensemble) for item in listing.items])
        seen = eye.see(images)
        parts = typical.parts(seen)
        by_part = {part: auroc(own_parts[:, place], parts[:, place]) for place, part in enumerate(PARTS)}
        answered = float(np.mean(typical.typicality(seen) >= 1 - ANSWERED))
        rows.append(UnknownSet(name, len(seen), auroc(own, typical.strangeness(seen)), by_part, answered))
    return UnknownReport(
        schema=SCHEMA,
        system=run.config.system,
        protocol=run.config.data.protocol,
        image_size=run.config.data.image_size,
        threshold=ANSWERED,
        test_slices=len(tested),
        test_answered=float(np.mean(typical.typicality(tested) >= 1 - ANSWERED)),
        unknown=tuple(rows),
    )


def as_json(report: UnknownReport) -> dict[str, Any]:
    """The report as JSON values, in four digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rounded(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [rounded(part) for part in value]
        return round(value, 4) if isinstance(value, float) else value

    return rounded(dataclasses.asdict(report))
