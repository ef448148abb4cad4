"""Reliability and risk-coverage as drawn."""

import numpy as np
import pytest

from btjax.evaluation.calibration import Reliability
from btjax.evaluation.labelled import Labelled
from btjax.evaluation.selective import selective_report
from btjax.figures.calibration import reliability_diagram, risk_coverage


def test_bins_are_drawn_beside_the_diagonal():
    slices = Reliability((10, 10), (0.6, 0.9), (0.5, 1.0))
    patients = Reliability((5,), (0.8,), (0.7,))
    panel = reliability_diagram({"test slices": slices, "test patients": patients}).axes[0]
    diagonal, first, second = panel.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert list(first.get_xdata()) == [0.6, 0.9] and list(first.get_ydata()) == [0.5, 1.0]
    assert list(second.get_ydata()) == [0.7]
    assert panel.get_xlim()[0] == pytest.approx(0.47) and panel.get_xlim()[1] > 1
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "calibrated",
        "test slices",
        "test patients",
    ]


def test_the_error_is_drawn_against_the_share_answered():
    labels = np.arange(40) % 2
    logits = np.stack([np.zeros(40), np.linspace(-1, 3, 40)], axis=1)
    curve = selective_report(Labelled(logits, labels))
    panel = risk_coverage(curve).axes[0]
    assert list(panel.lines[0].get_xdata()) == list(curve.coverage)
    assert list(panel.lines[0].get_ydata()) == list(curve.risk)
    assert panel.get_ylim()[1] >= max(curve.risk)


def test_a_curve_without_errors_is_drawn_too():
    curve = selective_report(Labelled(np.eye(2)[np.arange(10) % 2], np.arange(10) % 2))
    assert risk_coverage(curve).axes[0].get_ylim() == (0, 0.02)
