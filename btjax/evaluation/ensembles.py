"""Several predictions of the same rows as one: of networks of several seeds or folds, or of an image and its mirror."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.evaluation.comparison import difference_interval
from btjax.evaluation.intervals import Interval
from btjax.evaluation.metrics import probabilities_and_losses

if TYPE_CHECKING:
    from btjax.evaluation.labelled import Labelled


@dataclasses.dataclass(frozen=True)
class EnsembleGain:
    """An ensemble beside its members.

    Attributes:
      members: how many.
      member_accuracy: the accuracy of each.
      accuracy: of the ensemble.
      gain: its accuracy less the mean of its members', with its 95% interval by cluster.
      log_loss: of the ensemble, in nats.
      member_log_loss: the mean of its members'.
    """

    members: int
    member_accuracy: tuple[float, ...]
    accuracy: float
    gain: float
    gain_ci95: Interval | None
    log_loss: float
    member_log_loss: float


def ensemble_logits(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the mean of the members' probabilities.

    Args:
      logits: float [M, N, C], of M predictions of the same rows.

    Returns:
      float64 [N, C], which serve as logits: their softmax is the mean of the probabilities.

    Raises:
      ValueError: another number of dimensions, or no member.

    Example:
      >>> import numpy as np
      >>> np.exp(ensemble_logits(np.log([[[0.9, 0.1]], [[0.5, 0.5]]]))).round(3).tolist()
      [[0.7, 0.3]]
    """
    from scipy.special import log_softmax, logsumexp

    logits = np.asarray(logits, np.float64)
    if logits.ndim != 3 or len(logits) == 0:
        raise ValueError(f"expected logits [members, rows, classes], found shape {logits.shape}")
    return logsumexp(log_softmax(logits, axis=2), axis=0) - np.log(len(logits))


def ensemble_gain(logits: np.ndarray, rows: Labelled) -> EnsembleGain:
    """Scores the ensemble of several predictions beside its members.

    Args:
      logits: float [M, N, C].
      rows: labels, patients and groups of the N rows; its logits are not used.
    """
    together = ensemble_logits(logits)
    labels = np.asarray(rows.labels)
    members = np.argmax(logits, axis=2) == labels
    mean = difference_interval((together.argmax(axis=1) == labels) - members.mean(axis=0), rows.clusters)
    losses = [float(probabilities_and_losses(one, labels)[1].mean()) for one in (together, *logits)]
    return EnsembleGain(
        members=len(logits),
        member_accuracy=tuple(float(one) for one in members.mean(axis=1)),
        accuracy=float((together.argmax(axis=1) == labels).mean()),
        gain=mean.value,
        gain_ci95=mean.ci95,
        log_loss=losses[0],
        member_log_loss=float(np.mean(losses[1:])),
    )
