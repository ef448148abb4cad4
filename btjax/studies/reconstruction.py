"""What an autoencoder scores on the held-out rows of its split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from btjax.base.batches import in_batches
from btjax.evaluation.reconstruction import ReconstructionScores, reconstruction_scores, summarise
from btjax.runs.report import ReconstructionReport, RunInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from btjax.readers.slices import Slices
    from btjax.studies.data import Divided
    from btjax.systems.config import Config

_ROWS = 128  # slices whose outputs are held at a time


def reconstruction_report(
    info: RunInfo, data: Divided, predict: Callable[[np.ndarray], np.ndarray], config: Config
) -> ReconstructionReport:
    """Scores an autoencoder on its validation and test rows.

    Args:
      info: of `btjax.studies.classifier.run_info`.
      data: slices and split.
      predict: from slices uint8 [n, S, S] to outputs float32 [n, S, S, C].
      config: of the run.
    """
    return ReconstructionReport(
        **{name: getattr(info, name) for name in info.__dataclass_fields__},
        test=score_slices(predict, data.tested, config),
        validation=score_slices(predict, data.slices.take(data.split.validation), config),
    )


def score_slices(predict: Callable[[np.ndarray], np.ndarray], slices: Slices, config: Config) -> ReconstructionScores:
    """The means of the scores over slices, with intervals by patient."""
    prepare, parts = jax.jit(config.preprocessing), []
    for first in range(0, len(slices), _ROWS):
        images = slices.images[first : first + _ROWS]
        parts.append(reconstruction_scores(predict(images), in_batches(prepare, 32, images)))
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return summarise(values, patients=slices.patients)
