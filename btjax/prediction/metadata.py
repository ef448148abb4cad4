"""What somebody who has a model's file alone must know: classes, preparation, temperature, threshold, licence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from btjax.evaluation.published import CLASSES as PAPER_CLASSES
from btjax.evaluation.typical import ANSWERED
from btjax.prediction.answers import calibration_of
from btjax.readers.raw import PERCENTILES

if TYPE_CHECKING:
    from btjax.data.dataset import DataConfig
    from btjax.evaluation.typical import Typical
    from btjax.runs.report import Report
    from btjax.runs.run import Run

_CHENGS_SLICES = 3064

PURPOSE = "research, not diagnosis"


def is_chengs(report: Report) -> bool:
    """Whether a run's slices have the number and the classes of Cheng's, which no other set is known to have."""
    total = sum(count.slices for count in report.counts.values())
    return not report.data.synthetic and total == _CHENGS_SLICES and set(report.classes) == set(PAPER_CLASSES)


def licence_of(report: Report) -> tuple[str, str]:
    """Under what a run's weights may be passed on: Hugging Face's name for it, and in words."""
    began = (report.config.get("extra") or {}).get("weights") or "random"
    below = "" if began == "random" else "; its lower layers began as published weights, which have their own terms"
    if report.data.synthetic:
        return "apache-2.0", f"Apache-2.0; the slices were drawn by a program{below}"
    if is_chengs(report):
        named = "weights: CC BY 4.0, as the data that they were trained on (Jun Cheng); code: Apache-2.0"
        return "cc-by-4.0", named + below
    of_data = "code: Apache-2.0; weights: under the terms of the data that they were trained on, see Data"
    return "unknown", of_data + below


def before_steps(data: DataConfig) -> list[str]:
    """What is done to an image before a network takes it, in words."""
    return [
        "one grey slice, upright, dark is low",
        f"levels by {data.intensity_range} to 0 and 255",
        *(["black outside the head"] if data.head_mask else []),
        "padded with black to a square",
        f"{data.image_size} x {data.image_size} pixels by Pillow's BILINEAR",
    ]


def metadata(run: Run, typical: Typical | None = None) -> dict[str, Any]:
    """What goes with a run's exported files, as JSON values.

    Args:
      run: a finished one, with its report.
      typical: how its training slices look to it; None where nothing tells when not to answer.

    Raises:
      InputError: the run has no report, or one of an earlier version.
    """
    config, report = run.config, run.report
    size = config.data.image_size
    about = {
        "system": config.system,
        "task": report.task,
        "classes": list(config.classes),
        "image_size": size,
        "input": f"uint8 [B, {size}, {size}]",
        "before": before_steps(config.data),
        "levels": [0, 100] if config.data.intensity_range == "minmax" else list(PERCENTILES),  # become 0 and 255
        "head_mask": config.data.head_mask,
        "preprocessing": {"colour": config.preprocessing.colour, "scale": config.preprocessing.scale},
        "protocol": config.data.protocol,
        "licence": licence_of(report)[1],
        "purpose": PURPOSE,
    }
    if report.task != "classification":
        return about
    temperature, calibrated = calibration_of(run)
    outputs = [f"probabilities, float32 [B, {len(config.classes)}]: of the logits divided by the temperature"]
    if typical is not None:
        outputs.append("strangeness, float32 [B]")
    return about | {
        "output": outputs,
        "temperature": temperature,
        "calibrated": calibrated is not None,
        "not_answered": None if typical is None else _not_answered(typical),
    }


def _not_answered(typical: Typical) -> dict[str, Any]:
    """When no class should be named."""
    return {
        "score": "strangeness; see btjax.evaluation.typical",
        "above": typical.threshold if math.isfinite(typical.threshold) else None,
        "answered_validation_slices": ANSWERED,
    }
