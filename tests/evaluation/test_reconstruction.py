"""Scores of reconstructions, and which part of the decoder's input decides them."""

import json

import msgspec
import numpy as np
import pytest

from btjax.evaluation.intervals import mean_interval
from btjax.evaluation.reconstruction import (
    LatentEffect,
    ReconstructionScores,
    latent_experiments,
    reconstruction_scores,
    summarise,
)

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((6, 16, 16, 3)).astype(np.float32)
LATENTS = RANDOM.standard_normal((6, 1, 1, 3)).astype(np.float32)
LABELS = np.arange(6, dtype=np.int32) % 3


def test_a_constant_error_has_its_closed_form():
    targets = np.full((2, 16, 16, 3), 0.5, np.float32)
    scores = reconstruction_scores(targets + np.float32(0.1), targets)
    np.testing.assert_allclose(scores["mae"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(scores["psnr"], 20, rtol=1e-5)  # 10 log10(1 / 0.1^2)


def test_a_perfect_image_scores_perfectly():
    scores = reconstruction_scores(IMAGES, IMAGES)
    assert (scores["mae"] == 0).all() and np.isinf(scores["psnr"]).all()
    np.testing.assert_allclose(scores["ssim"], 1)


def test_what_is_drawn_is_clipped_and_what_is_trained_is_not():
    scores = reconstruction_scores(np.full_like(IMAGES, 3), np.ones_like(IMAGES))
    np.testing.assert_allclose(scores["mae"], 2)
    assert np.isinf(scores["psnr"]).all()


def test_a_decoder_that_ignores_the_latent_gives_it_no_share():
    table = latent_experiments(lambda _, inputs: inputs, LATENTS, IMAGES, LABELS)
    for name in ("latent zeroed", "latent shuffled", "latent of another class", "full"):
        assert table[name] == LatentEffect(0, (0, 0), 0, (0, 0), 0, (0, 0))
    assert table["location of another class"].share == pytest.approx(1)


def test_a_decoder_that_sees_the_latent_alone_owes_it_everything():
    def decode(latents, inputs):
        return np.broadcast_to(latents, inputs.shape)

    table = latent_experiments(decode, LATENTS, IMAGES, LABELS)
    assert table["latent of another class"].share == pytest.approx(1)
    assert table["latent shuffled"].share == pytest.approx(1)
    assert table["location of another class"].effect == 0
    assert table["latent zeroed"].effect == pytest.approx(np.abs(LATENTS).mean(), rel=1e-5)
    assert table["full"].mae == pytest.approx(np.abs(LATENTS - IMAGES).mean(), rel=1e-5)


def test_no_image_keeps_its_own_latent():
    seen = []

    def decode(latents, inputs):
        seen.append(latents)
        return np.broadcast_to(latents, inputs.shape)

    latent_experiments(decode, LATENTS, IMAGES, LABELS)
    full, zeroed, shuffled, other, _ = seen
    assert not np.any(zeroed)
    assert all(not np.array_equal(a, b) for a, b in zip(full, shuffled, strict=True))
    donors = [int(np.flatnonzero((latent == LATENTS).all(axis=(1, 2, 3)))[0]) for latent in other]
    assert (LABELS[donors] != LABELS).all()


def test_a_report_holds_the_means_with_intervals_by_patient_and_comes_back_from_json():
    outputs = np.clip(IMAGES + RANDOM.normal(0, 0.1, IMAGES.shape), 0, 1).astype(np.float32)
    patients = np.array(["a", "a", "b", "b", "c", "d"])
    report = summarise(reconstruction_scores(outputs, IMAGES), patients=patients)
    for name, values in reconstruction_scores(outputs, IMAGES).items():
        assert getattr(report, name) == values.mean()
        expected = mean_interval(values, patients, scale="positive" if name == "mae" else "real")
        assert getattr(report, f"{name}_ci95") == expected.ci95
    assert (report.slices, report.patients, report.interval.unit, report.interval.units) == (6, 4, "patient", 4)
    text = json.dumps(msgspec.to_builtins(report), allow_nan=False)
    assert msgspec.convert(json.loads(text), ReconstructionScores, strict=False) == report
    by_slice = summarise(reconstruction_scores(outputs, IMAGES))
    assert (by_slice.patients, by_slice.interval.unit, by_slice.interval.units) == (None, "slice", 6)


def test_a_perfect_reconstruction_has_no_finite_psnr():
    report = summarise(reconstruction_scores(IMAGES, IMAGES))
    assert report.psnr is None and report.psnr_ci95 is None
    assert (report.mae, report.mae_ci95) == (0, (0, 0))


def test_shares_have_the_interval_of_a_ratio_by_patient():
    table = latent_experiments(lambda latents, inputs: (latents + inputs) / 2, LATENTS, IMAGES, LABELS)
    known = latent_experiments(
        lambda latents, inputs: (latents + inputs) / 2, LATENTS, IMAGES, LABELS, patients=np.repeat("a", 6)
    )
    for name, effect in table.items():
        low, high = effect.share_ci95
        assert low <= effect.share <= high
        assert (known[name].effect, known[name].share, known[name].mae) == (effect.effect, effect.share, effect.mae)
        assert known[name].effect_ci95 is known[name].share_ci95 is known[name].mae_ci95 is None
    # A decoder of the latent alone: both means vary, and their ratio is 1 whichever image is left out.
    certain = latent_experiments(lambda latents, inputs: np.ones_like(inputs) * latents, LATENTS, IMAGES, LABELS)
    low, high = certain["latent of another class"].share_ci95
    assert np.ptp(certain["latent of another class"].effect_ci95) > 0.1
    assert low == pytest.approx(1) and high == pytest.approx(1)


def test_a_decoder_that_always_gives_one_image_has_no_share():
    table = latent_experiments(lambda _, inputs: np.zeros_like(inputs), LATENTS, IMAGES, LABELS)
    assert table["latent zeroed"].share is None and table["latent zeroed"].share_ci95 is None


def test_pairs_need_two_classes():
    with pytest.raises(ValueError, match="at least two classes"):
        latent_experiments(lambda _, inputs: inputs, LATENTS, IMAGES, 0 * LABELS)
