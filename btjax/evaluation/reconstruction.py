"""How well an autoencoder makes images anew, and what its latent and its location channel each decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

Decode = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(latents [N, 1, 1, K], inputs [N, S, S, C]) -> images [N, S, S, C]."""


def reconstruction_scores(outputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Scores images against what they should be.

    Args:
      outputs: float32 [N, S, S, C]; shown, and so scored by PSNR and SSIM, clipped to [0, 1].
      targets: float32 [N, S, S, C] in [0, 1].

    Returns:
      float64 [N] each: `mae` (mean absolute error of the unclipped output, the training loss), `psnr` (dB, infinite
      for equal images), `ssim` (structural similarity of Wang et al. 2004, mean over channels).
    """
    shown = np.clip(outputs, 0, 1)
    pairs = list(zip(targets, shown, strict=True))
    with np.errstate(divide="ignore"):
        psnr = [peak_signal_noise_ratio(target, image, data_range=1) for target, image in pairs]
    ssim = [structural_similarity(target, image, data_range=1, channel_axis=-1) for target, image in pairs]
    mae = np.abs(outputs.astype(np.float64) - targets).mean(axis=(1, 2, 3))
    return {"mae": mae, "psnr": np.array(psnr, np.float64), "ssim": np.array(ssim, np.float64)}


def latent_experiments(
    decode: Decode, latents: np.ndarray, inputs: np.ndarray, labels: np.ndarray, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What becomes of the output when the latent, or the image that `location` sees, is another's.

    Every image is paired with one of another class. `effect` is the mean absolute change of the output, `share` is
    `effect` over the mean absolute difference between the two images' own outputs: 0 where the changed part decides
    nothing, 1 where it alone makes the difference between two images. The two parts' shares need not add up to 1.

    Args:
      decode: the model's decoder.
      latents: float32 [N, 1, 1, K], of each image.
      inputs: float32 [N, S, S, C], at least two classes among them.
      labels: int32 [N].
      seed: of the pairing.

    Returns:
      name -> {"effect", "share", "mae"} with `mae` against the image's own input, for `full`, `latent zeroed`,
      `latent shuffled`, `latent of another class`, `location of another class`.
    """
    random = np.random.default_rng(seed)
    another = np.array([random.choice(np.flatnonzero(labels != label)) for label in labels])
    shuffled = random.permutation(len(labels))
    order = np.empty(len(labels), np.int64)
    order[shuffled] = np.roll(shuffled, 1)  # one cycle through all images: nobody keeps its own
    full = decode(latents, inputs)
    changed = {
        "full": full,
        "latent zeroed": decode(np.zeros_like(latents), inputs),
        "latent shuffled": decode(latents[order], inputs),
        "latent of another class": decode(latents[another], inputs),
        "location of another class": decode(latents, inputs[another]),
    }
    between = {"latent shuffled": np.abs(full - full[order]).mean()}
    usual = np.abs(full - full[another]).mean()
    return {
        name: {
            "effect": float(np.abs(output - full).mean()),
            "share": float(np.abs(output - full).mean() / between.get(name, usual)),
            "mae": float(np.abs(output - inputs).mean()),
        }
        for name, output in changed.items()
    }
