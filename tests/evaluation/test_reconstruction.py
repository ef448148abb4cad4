"""Scores of reconstructions, and whose doing they are."""

import numpy as np
import pytest

from btjax.evaluation.reconstruction import latent_experiments, reconstruction_scores

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
    table = latent_experiments(lambda latents, inputs: inputs, LATENTS, IMAGES, LABELS)
    for name in ("latent zeroed", "latent shuffled", "latent of another class", "full"):
        assert table[name] == {"effect": 0, "share": 0, "mae": 0}
    assert table["location of another class"]["share"] == pytest.approx(1)


def test_a_decoder_that_sees_the_latent_alone_owes_it_everything():
    def decode(latents, inputs):
        return np.broadcast_to(latents, inputs.shape)

    table = latent_experiments(decode, LATENTS, IMAGES, LABELS)
    assert table["latent of another class"]["share"] == pytest.approx(1)
    assert table["latent shuffled"]["share"] == pytest.approx(1)
    assert table["location of another class"]["effect"] == 0
    assert table["latent zeroed"]["effect"] == pytest.approx(np.abs(LATENTS).mean(), rel=1e-5)
    assert table["full"]["mae"] == pytest.approx(np.abs(LATENTS - IMAGES).mean(), rel=1e-5)


def test_nobody_keeps_its_own_latent():
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
