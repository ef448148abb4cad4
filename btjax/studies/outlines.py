"""Predicted outlines in the place of true ones: what somebody has whose slices nobody outlined."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError
from btjax.base.files import expanded
from btjax.runs.outlines import Outlines
from btjax.runs.run import Run
from btjax.systems.outlined import OutlineConfig
from btjax.systems.segmenter import SegmentationConfig

if TYPE_CHECKING:
    from btjax.data.splits import Split
    from btjax.readers.slices import Slices
    from btjax.systems.config import Config


def with_outlines(config: Config, slices: Slices, split: Split) -> Slices:
    """The slices with a segmenter's outlines as masks on all but the training rows, where a config asks for them.

    Training rows keep their true masks, where the data set has any: there the segmenter has learned them.

    Args:
      config: of a system whose `extra` is an `OutlineConfig`; others leave the slices as they are.
      slices: the data set.
      split: of the config.

    Raises:
      InputError: no such run, a run on other slices, or one that was trained on test rows.
    """
    if not isinstance(config.extra, OutlineConfig) or not config.extra.outlines:
        return slices
    data, text = config.data, _run_of(config)
    outlines = Run(text).outlines
    if not np.array_equal(outlines.ids, slices.ids):
        raise InputError(f"--outlines={text}: a run on other slices, expected those of --data_dir={data.data_dir}")
    trained = outlines.sides[split.test] == "train"
    if trained.any():
        raise InputError(
            f"--outlines={text}: was trained on {trained.sum()} of the {len(split.test)} test slices; expected a run "
            "of the same protocol and fold, with {protocol} and {fold} in the path where they differ"
        )
    rows = np.arange(len(slices)) if slices.masks is None else np.concatenate([split.validation, split.test])
    masks = np.zeros(slices.images.shape, bool) if slices.masks is None else slices.masks.copy()
    masks[rows] = enlarged(outlines.masks[rows], slices.images.shape[1])
    return dataclasses.replace(slices, masks=masks)


def as_taught(config: Config, slices: Slices, split: Split) -> Slices:
    """The slices with a file's outlines as masks of the training and validation rows, where a config names a file.

    Args:
      config: of a system whose `extra` is a `SegmentationConfig`; others leave the slices as they are.
      slices: the data set.
      split: of the config.

    Raises:
      InputError: no such file, outlines of other slices or of another split.
    """
    if not isinstance(config.extra, SegmentationConfig) or not config.extra.taught_by:
        return slices
    path, rows = expanded(config.extra.taught_by), np.concatenate([split.train, split.validation])
    outlines, flag = Outlines.load(path), f"--taught_by={path}"
    if not np.array_equal(outlines.ids, slices.ids):
        raise InputError(f"{flag}: outlines of other slices, expected those of --data_dir={config.data.data_dir}")
    unknown = np.isin(outlines.sides[rows], ("train", "validation"), invert=True).sum()
    if unknown:
        raise InputError(
            f"{flag}: {unknown} of the {len(rows)} training and validation slices are none there; expected outlines by "
            "a run of the same protocol and fold"
        )
    if seen := int((outlines.sides[split.test] == "train").sum()):
        raise InputError(
            f"{flag}: made by a run that was trained on {seen} of the {len(split.test)} test slices; expected outlines "
            "by a run of the same protocol and fold"
        )
    masks = np.zeros(slices.images.shape, bool) if slices.masks is None else np.array(slices.masks)
    masks[rows] = enlarged(outlines.masks[rows], slices.images.shape[1])
    return dataclasses.replace(slices, masks=masks)


def masks_key(config: Config, slices: Slices) -> str:
    """What tells a fold's masks from others: those of the data set, and of the segmenter if one is named."""
    predicted = Run(_run_of(config)).outlines.bits.tobytes() if config.extra.outlines else b""
    return f"{slices.masks_fingerprint} {hashlib.sha256(predicted).hexdigest()[:16]}"


def _run_of(config: Config) -> str:
    """The folder of a fold's segmenter."""
    data = config.data
    return config.extra.outlines.replace("{protocol}", data.protocol).replace("{fold}", str(data.fold))


def outlines_notes(config: Config) -> tuple[str, ...]:
    """What people should know of a run's outlines: a line where they are given or made, else none."""
    if isinstance(config.extra, SegmentationConfig) and config.extra.taught_by:
        return ("no person drew the masks of training and validation slices; test slices have true ones",)
    if not isinstance(config.extra, OutlineConfig):
        return ()
    if config.extra.outlines:
        return ("outlines of all slices but those for training are a segmenter's, in the place of true ones",)
    return ("the true outline of the tumour is given, also of slices that are tested",)


def enlarged(masks: np.ndarray, side: int) -> np.ndarray:
    """Masks bool [N, S, S] at another side, each pixel that under its middle.

    Example:
      >>> enlarged(np.array([[[True, False], [False, False]]]), 4).astype(int)[0].tolist()
      [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
      >>> enlarged(np.eye(6, dtype=bool)[None], 2).astype(int)[0].tolist()
      [[1, 0], [0, 1]]
    """
    places = (2 * np.arange(side) + 1) * masks.shape[1] // (2 * side)
    return masks[:, places[:, None], places]
