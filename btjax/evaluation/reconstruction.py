"""How well an autoencoder reconstructs images, and how much its latent and its location channel each decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from btjax.evaluation.intervals import METHOD, Clusters, Interval, IntervalSettings, MeanInterval

Decode = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(latents [N, 1, 1, K], inputs [N, S, S, C]) -> images [N, S, S, C]."""


@dataclasses.dataclass(frozen=True)
class ReconstructionScores:
    """Mean scores of reconstructed slices, each with its 95% interval `<name>_ci95`.

    Attributes:
      slices: the number of slices.
      patients: the number of patients, or None where no ids exist.
      mae: mean absolute error.
      psnr: peak signal-to-noise ratio in dB; None if it is infinite, as for a slice without any error.
      ssim: structural similarity, at most 1.
      interval: how the intervals were computed.
    """

    slices: int
    patients: int | None
    mae: float
    mae_ci95: Interval | None
    psnr: float | None
    psnr_ci95: Interval | None
    ssim: float
    ssim_ci95: Interval | None
    interval: IntervalSettings


@dataclasses.dataclass(frozen=True)
class LatentEffect:
    """What replacing a part of the decoder's input does, see `latent_experiments`; with 95% intervals.

    Attributes:
      effect: mean absolute change of the output.
      share: `effect` over the difference between two images' outputs; None where that is 0.
      mae: mean absolute error against the image's own input.
    """

    effect: float
    effect_ci95: Interval | None
    share: float | None
    share_ci95: Interval | None
    mae: float
    mae_ci95: Interval | None


def reconstruction_scores(outputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Scores each image against its target.

    Args:
      outputs: float32 [N, S, S, C]; shown, and so scored by PSNR and SSIM, clipped to [0, 1].
      targets: float32 [N, S, S, C] in [0, 1].

    Returns:
      float64 [N] each: `mae` (mean absolute error of the unclipped output, the training loss), `psnr` (dB, infinite
      for equal images), `ssim` (structural similarity of Wang et al. 2004, mean over channels).
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    shown = np.clip(outputs, 0, 1)
    pairs = list(zip(targets, shown, strict=True))
    with np.errstate(divide="ignore"):
        psnr = [peak_signal_noise_ratio(target, image, data_range=1) for target, image in pairs]
    ssim = [structural_similarity(target, image, data_range=1, channel_axis=-1) for target, image in pairs]
    mae = np.abs(outputs.astype(np.float64) - targets).mean(axis=(1, 2, 3))
    return {"mae": mae, "psnr": np.array(psnr, np.float64), "ssim": np.array(ssim, np.float64)}


def summarise(values: dict[str, np.ndarray], *, patients: np.ndarray | None = None) -> ReconstructionScores:
    """The means of each image's scores, with 95% intervals by patient.

    Args:
      values: of `reconstruction_scores`, float64 [N] each, N at least 1.
      patients: str [N], or None where no ids exist; then slices are treated as independent.

    Raises:
      ValueError: no slices, or not one patient for each slice.
    """
    rows = len(values["mae"])
    clusters = _clusters(rows, patients)
    mae = clusters.mean(values["mae"], "positive")
    psnr, ssim = (clusters.mean(values[name]) for name in ("psnr", "ssim"))
    unit = "slice" if patients is None else "patient"
    return ReconstructionScores(
        slices=rows,
        patients=None if patients is None else clusters.units,
        mae=mae.value,
        mae_ci95=mae.ci95,
        psnr=psnr.value if np.isfinite(psnr.value) else None,
        psnr_ci95=psnr.ci95,
        ssim=ssim.value,
        ssim_ci95=ssim.ci95,
        interval=IntervalSettings(METHOD, unit, clusters.units),
    )


def _clusters(rows: int, patients: np.ndarray | None) -> Clusters:
    return Clusters.of(np.arange(rows) if patients is None else patients)


def latent_experiments(
    decode: Decode,
    latents: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    patients: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, LatentEffect]:
    """How the output changes when the latent, or the image that `location` sees, is replaced by another image's.

    Every image is paired with one of another class. `effect` is the mean absolute change of the output. `share` is
    `effect` over the mean absolute difference between the two images' own outputs: 0 where the replaced part decides
    nothing, 1 where it alone makes the difference between two images. The two parts' shares need not add up to 1.

    Args:
      decode: the model's decoder.
      latents: float32 [N, 1, 1, K], of each image.
      inputs: float32 [N, S, S, C], at least two classes among them.
      labels: int32 [N].
      patients: str [N], or None for independent images: what the intervals go by. The pairs stay as they are drawn.
      seed: of the pairing.

    Returns:
      name -> effect, for `full`, `latent zeroed`, `latent shuffled`, `latent of another class`, `location of another
      class`.

    Raises:
      ValueError: fewer than two classes among the labels, or not one patient for each image.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("pairs of images of different classes need at least two classes among the labels")
    random = np.random.default_rng(seed)
    another = np.array([random.choice(np.flatnonzero(labels != label)) for label in labels])
    shuffled = random.permutation(len(labels))
    order = np.empty(len(labels), np.int64)
    order[shuffled] = np.roll(shuffled, 1)  # one cycle through all images: none keeps its own
    full = decode(latents, inputs)
    changed = {
        "full": full,
        "latent zeroed": decode(np.zeros_like(latents), inputs),
        "latent shuffled": decode(latents[order], inputs),
        "latent of another class": decode(latents[another], inputs),
        "location of another class": decode(latents, inputs[another]),
    }
    clusters = _clusters(len(labels), patients)
    usual = np.abs(full - full[another])
    between = {"latent shuffled": np.abs(full - full[order])}
    return {
        name: _effect(np.abs(output - full), between.get(name, usual), np.abs(output - inputs), clusters)
        for name, output in changed.items()
    }


def _effect(change: np.ndarray, between: np.ndarray, error: np.ndarray, clusters: Clusters) -> LatentEffect:
    """Of absolute differences, float32 [N, S, S, C]."""
    difference = between.mean()
    effect, mae = (_pixel_mean(values, clusters) for values in (change, error))
    return LatentEffect(
        effect=effect.value,
        effect_ci95=effect.ci95,
        share=float(change.mean() / difference) if difference > 0 else None,
        share_ci95=clusters.ratio(_by_image(change), _by_image(between)),
        mae=mae.value,
        mae_ci95=mae.ci95,
    )


def _by_image(values: np.ndarray) -> np.ndarray:
    """The mean of each image: float64 [N]."""
    return values.mean(axis=tuple(range(1, values.ndim)), dtype=np.float64)


def _pixel_mean(values: np.ndarray, clusters: Clusters) -> MeanInterval:
    """The mean over all pixels, in the precision of `values`, with the interval of the images' means."""
    return dataclasses.replace(clusters.mean(_by_image(values), "positive"), value=float(values.mean()))
