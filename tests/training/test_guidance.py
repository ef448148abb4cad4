"""Guidance by masks, and joint training: what the loss is, and what it does to a network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import btjax
from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.data.augment import Augmentation
from btjax.data.bits import pack_masks
from btjax.data.phantom import make_phantom
from btjax.data.preprocess import Preprocessing
from btjax.evaluation.segmentation import Compared
from btjax.models.cnn import CNN
from btjax.models.joint import JointNetwork
from btjax.saliency.activations import grad_cam
from btjax.saliency.classifier import Classifier
from btjax.saliency.gradients import gradient
from btjax.systems.config import Config
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.guidance import Guidance, covered, dilated, outside_share
from btjax.training.joint import JointClassification
from btjax.training.loop import Trainer
from btjax.training.segmentation import Segmentation, outline_losses
from btjax.training.state import create_state
from btjax.training.tasks import Classification
from tests.training.blobs import blob_split, make_blobs

BLOBS = make_blobs()
SLICES = dataclasses.replace(BLOBS, masks=BLOBS.images >= 150)
PARTS = (Preprocessing("grey"), Augmentation())
NETWORK = CNN(widths=(4, 6), pools=1, dense=8, dropout=0.0, l2=0.0)


def make_batch(count: int = 6) -> dict[str, jax.Array]:
    arrays = {"images": SLICES.images, "labels": SLICES.labels, "masks": pack_masks(SLICES.masks)}
    batch = {name: jnp.asarray(array[:count]) for name, array in arrays.items()}
    return batch | {"counted": jnp.arange(count) < count - 1}


def state_of(task):
    size = SLICES.images.shape[1]
    return create_state(lambda key: task.initialise(key, size), optax.identity(), jax.random.key(0))


def test_a_blank_map_costs_as_much_as_one_that_lies_wholly_outside():
    masks = jnp.zeros((3, 8, 8), bool).at[:, :2, :2].set(True)
    maps = jnp.zeros((3, 4, 4)).at[1, 3, 3].set(5.0).at[2, 0, 0].set(1e-9)
    np.testing.assert_allclose(Guidance(2.0, radius=0)(maps, masks), [2.0, 2.0, 0.0], atol=1e-6)
    # A map cannot escape by being small: the share is the same at any scale.
    small, large = (outside_share(scale * jnp.arange(16.0).reshape(1, 4, 4), masks[:1]) for scale in (1e-6, 1e6))
    np.testing.assert_allclose(small, large, rtol=1e-5)


CORNER = jnp.zeros((1, 8, 8), bool).at[:, :2, :2].set(True)


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ({}, 1.0),  # a dead network
        ({(0, 0): -1.0, (3, 3): -2.0}, 1.0),  # blank after Grad-CAM's ReLU
        ({(0, 0): -1.0, (3, 3): 2.0}, 1.0),  # wholly outside
        ({(0, 0): -1.0, (3, 3): 1e-12}, 1.0),
        ({(0, 0): 1e-30, (3, 3): 1e-30}, 0.5),
    ],
)
def test_every_map_is_pulled_into_the_tumour_by_a_finite_gradient(values, least):
    maps = jnp.zeros((1, 4, 4))
    for place, value in values.items():
        maps = maps.at[0, *place].set(value)
    share, gradient = jax.value_and_grad(lambda maps: outside_share(maps, CORNER)[0])(maps)
    scale = float(jnp.abs(maps).max()) or 1.0
    assert least <= share <= 2 and np.isfinite(gradient).all()
    assert gradient[0, 0, 0] < 0 and np.abs(gradient).max() * scale < 25  # more in the tumour costs less


@pytest.mark.parametrize("masks", [CORNER, jnp.zeros((1, 8, 8), bool)], ids=["tumour", "none"])
def test_a_gradient_of_the_pixels_that_is_zero_everywhere_leaves_the_loss_differentiable(masks):
    guidance = Guidance(1.0, "gradient")

    def term(scale):
        return guidance(guidance.map_of(jnp.ones((1, 8, 8, 1)), scale * jnp.ones((1, 8, 8, 1))), masks).sum()

    assert np.isfinite(jax.grad(term)(0.0))


def test_a_map_whose_side_does_not_divide_that_of_the_slice_covers_its_pixels():
    masks = np.random.default_rng(0).random((2, 10, 10)) < 0.1
    found = covered(jnp.asarray(masks), (3, 4))
    for row, column in np.ndindex(3, 4):
        rows, columns = ([i for i in range(10) if i * side // 10 == at] for side, at in ((3, row), (4, column)))
        np.testing.assert_array_equal(found[:, row, column], masks[:, rows][:, :, columns].any(axis=(1, 2)))


def test_the_gradient_that_guides_is_that_of_the_pixels_where_stages_are_frozen():
    task = Classification(NETWORK, *PARTS, guidance=Guidance(0.7, "gradient"))
    state, batch = state_of(task), make_batch()
    frozen = dataclasses.replace(task, frozen_below="conv_1")
    for found, expected in zip(
        frozen.loss(state.params, state, batch)[1][0].items(),
        task.loss(state.params, state, batch)[1][0].items(),
        strict=True,
    ):
        assert found[0] == expected[0]
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    deep = joint(segmentation=0.0, guidance=Guidance(1.0, "gradient"))
    state = state_of(deep)
    loss, _ = dataclasses.replace(deep, frozen_below="encode_1").loss(state.params, state, batch)
    assert np.isfinite(loss)


def test_a_slice_without_a_tumour_is_not_guided():
    assert Guidance(1.0)(jnp.ones((1, 4, 4)), jnp.zeros((1, 8, 8), bool)).tolist() == [0.0]


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_dilation_is_that_of_scipy(radius):
    from scipy.ndimage import binary_dilation

    masks = np.random.default_rng(0).random((4, 12, 12)) < 0.05
    square = np.ones((2 * radius + 1, 2 * radius + 1), bool)
    expected = np.stack([binary_dilation(mask, square) for mask in masks])
    np.testing.assert_array_equal(dilated(jnp.asarray(masks), radius), expected)


@pytest.mark.parametrize("method", ["grad_cam", "gradient"])
def test_the_guided_loss_is_the_cross_entropy_and_the_share_of_the_saliency_map_outside(method):
    task = Classification(NETWORK, *PARTS, guidance=Guidance(0.7, method, radius=1))
    state, batch = state_of(task), make_batch()
    found, (sums, _) = task.loss(state.params, state, batch)
    inputs, labels = PARTS[0](batch["images"]), batch["labels"]
    classifier = Classifier(NETWORK, {"params": state.params})
    attribute = {"grad_cam": grad_cam, "gradient": gradient}[method]
    layer = {"layer": "conv_2"} if method == "grad_cam" else {}
    maps = attribute(classifier, inputs, labels, jax.random.key(0), **layer)
    if method == "grad_cam":  # the loss sees the map before its ReLU and before it is enlarged
        own = _at_its_own_size(classifier, inputs, labels)
        np.testing.assert_allclose(maps, jax.image.resize(jax.nn.relu(own), maps.shape, "linear"), atol=1e-5)
        maps = own
    outside = outside_share(maps, dilated(jnp.asarray(SLICES.masks[:6]), 1))
    entropies = optax.softmax_cross_entropy_with_integer_labels(classifier(inputs), labels)
    np.testing.assert_allclose(found, (entropies + 0.7 * outside)[:5].mean(), rtol=1e-5)
    assert float(sums["accuracy"]) <= 5


def _at_its_own_size(classifier, inputs, labels):
    values = classifier.below("conv_2", inputs)

    def score(values):
        return jnp.take_along_axis(classifier.above("conv_2", values), labels[:, None], 1).sum()

    return (jax.grad(score)(values).mean((1, 2), keepdims=True) * values).sum(-1)


@pytest.mark.parametrize("method", ["grad_cam", "gradient"])
def test_the_gradient_of_the_guided_loss_is_that_of_finite_differences(method):
    smooth = NETWORK.clone(activation=jax.nn.softplus, pools=0)  # kinks would blur the differences
    task = Classification(smooth, *PARTS, guidance=Guidance(1.0, method))
    state, batch = state_of(task), make_batch()
    step = jax.tree.map(
        lambda leaf: jnp.asarray(np.random.default_rng(leaf.size).normal(size=leaf.shape), leaf.dtype), state.params
    )

    def along(size):
        return task.loss(jax.tree.map(lambda leaf, move: leaf + size * move, state.params, step), state, batch)[0]

    expected = (along(1e-3) - along(-1e-3)) / 2e-3
    found = jax.grad(along)(0.0)
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=1e-3)


def test_guidance_moves_the_map_into_the_tumour(tmp_path):
    def inside(weight):
        task = Classification(NETWORK, *PARTS, guidance=Guidance(weight, radius=0) if weight else None)
        config = TrainingConfig(epochs=6, batch_size=16, learning_rate=0.01)
        examples = Examples.of(SLICES, blob_split(SLICES), masks=task.needs_masks)
        trainer = Trainer(task, config, examples, 0, Checkpoints(tmp_path / str(weight)))
        trainer.fit()
        classifier = Classifier(NETWORK, {"params": trainer.state.params})
        maps = _at_its_own_size(classifier, PARTS[0](jnp.asarray(SLICES.images)), jnp.asarray(SLICES.labels))
        return 1 - float(outside_share(jax.nn.relu(maps), jnp.asarray(SLICES.masks)).mean())

    assert inside(5.0) > inside(0.0) + 0.1


def joint(**options) -> JointClassification:
    model = JointNetwork(width=4, halvings=2, convolutions=1, features=8, head_dropout=0.0)
    return JointClassification(model, *PARTS, **options)


def test_the_joint_loss_is_the_sum_of_both_tasks():
    task = joint(segmentation=0.5, dice_weight=0.3)
    state, batch = state_of(task), make_batch()
    sums = task.evaluate(state.variables, batch)
    variables, masks = state.variables, jnp.asarray(SLICES.masks[:6])
    logits = task.outputs(variables, batch["images"])
    pixels, dice = outline_losses(task.pixel_logits(variables, batch["images"]), masks, batch["labels"], 0.3)
    entropies = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
    np.testing.assert_allclose(sums["loss"], (entropies + 0.5 * pixels)[:5].sum(), rtol=1e-5)
    np.testing.assert_allclose(sums["dice"], dice[:5].sum(), rtol=1e-5)
    loss, (trained, _) = task.loss(state.params, state, batch)
    assert trained.keys() == sums.keys() and np.isfinite(loss)


@pytest.mark.parametrize("guidance", [None, Guidance(1.0), Guidance(1.0, "gradient")], ids=["none", "cam", "gradient"])
def test_the_joint_loss_has_the_same_sums_whatever_guides_it(guidance):
    for weight in (0.0, 1.0):
        task = joint(segmentation=weight, guidance=guidance)
        state, batch = state_of(task), make_batch()
        _, (sums, _) = task.loss(state.params, state, batch)
        assert sums.keys() == task.evaluate(state.variables, batch).keys() == {"count", *task.metrics}
        assert task.needs_masks == bool(weight or guidance)


def small(**changes) -> Config:
    options = {
        "data.data_dir": "phantom", "data.phantom_patients": 6, "data.phantom_slices": 3, "data.image_size": 32,
        "data.protocol": "patient", "preprocessing.colour": "grey", "preprocessing.scale": "standard",
        "model.width": 4, "model.halvings": 2, "model.convolutions": 1, "model.features": 8,
        "training.batch_size": 8, "training.epochs": 2, "training.learning_rate": 0.01,
    }  # fmt: skip
    config = Config.default("joint")
    for name, value in (options | changes).items():
        config = config.replace(name, value)
    return config


def test_a_network_trained_with_masks_predicts_and_outlines_slices_without(tmp_path):
    run = btjax.train(small(), tmp_path / "run")
    slices = dataclasses.replace(make_phantom(6, 3, 32, 0), masks=None)
    rows = np.flatnonzero(run.predictions.sides == "test")
    np.testing.assert_allclose(
        run.logits(slices.images[rows]), run.predictions.side("test").logits, rtol=1e-4, atol=1e-4
    )
    assert np.mean(run.outline(slices.images[rows]) != run.outlines.masks[rows]) < 1e-3
    report = btjax.restore(tmp_path / "run").report
    assert report.task == "classification" and report.outlines.slices == len(rows)
    held = np.flatnonzero(run.predictions.sides == "validation")
    dice = Compared.of(
        run.outline(slices.images[held]), make_phantom(6, 3, 32, 0).masks[held], np.zeros((len(held), 2), int)
    ).dice
    assert report.outlines_validation.slices == len(held)
    assert report.outlines_validation.dice.value == pytest.approx(dice.mean(), abs=1e-3)
    assert "The network&#39;s own outlines" in (tmp_path / "run/report.html").read_text()


def test_a_ladder_scores_the_outlines_of_all_its_folds_together_and_against_the_cells_own_masks(tmp_path, monkeypatch):
    config = small(**{"data.folds": 2, "data.refit": True, "training.epochs": 20})
    (rung,) = btjax.run_ladder(config, tmp_path / "ladder", ["patient"], [0]).rungs
    slices, values = make_phantom(6, 3, 32, 0), {}
    for fold in range(2):
        run = btjax.restore(tmp_path / f"ladder/cells/patient/fold_{fold}/seed_0")
        rows = np.flatnonzero(run.predictions.sides == "test")
        dice = Compared.of(run.outlines.masks[rows], slices.masks[rows], run.outlines.points[rows]).dice
        values |= dict(zip(rows.tolist(), dice.tolist(), strict=True))
    assert len(values) == len(slices) == rung.outlines.slices
    assert rung.outlines.dice.value == pytest.approx(np.mean(list(values.values())))
    assert rung.outlines.dice.value > 0.01
    assert rung.outlines.patients == 18 and rung.outlines.interval == rung.scores.interval
    for name, scores in rung.outlines.by_class.items():
        own = [values[row] for row in np.flatnonzero(slices.labels == slices.classes.index(name))]
        assert scores.dice.value == pytest.approx(np.mean(own))
    assert "patient, 2 folds, 1 seed, test slices" in (tmp_path / "ladder/ladder.html").read_text().lower()
    for masks, line in ((None, "^--data_dir: its slices have no masks"), (~slices.masks, "fingerprint of its masks")):
        changed = dataclasses.replace(slices, masks=masks)
        monkeypatch.setattr("btjax.data.dataset.make_phantom", lambda *_, changed=changed: changed)
        with pytest.raises(InputError, match=line):
            btjax.run_ladder(config, tmp_path / "ladder", ["patient"], [0], report_only=True)


@pytest.mark.parametrize(
    "changes", [{}, {"extra.segmentation": 0.0, "training.guidance": 1.0}], ids=["joint", "guided"]
)
def test_data_without_masks_are_refused_in_one_line(tmp_path, monkeypatch, changes):
    from btjax.data import dataset

    made = dataset.make_phantom
    monkeypatch.setattr(dataset, "make_phantom", lambda *args: dataclasses.replace(made(*args), masks=None))
    with pytest.raises(InputError, match=r"^--data_dir=phantom: its slices have no tumour masks, which .* trains on"):
        btjax.train(small(**changes), tmp_path / "run")


def test_slices_whose_masks_are_empty_train_as_background(tmp_path, monkeypatch):
    from btjax.data import dataset

    made = dataset.make_phantom

    def some_empty(*args):
        slices = made(*args)
        masks = slices.masks.copy()
        masks[::2] = False
        return dataclasses.replace(slices, masks=masks)

    monkeypatch.setattr(dataset, "make_phantom", some_empty)
    run = btjax.train(small(**{"training.guidance": 1.0}), tmp_path / "run")
    assert np.isfinite(run.history[-1]["train_loss"])


def test_guidance_of_what_is_no_classifier_is_refused_in_one_line():
    config = Config.default("segmenter").replace("training.guidance", 1.0)
    assert isinstance(Config.default("segmenter").task(), Segmentation)
    with pytest.raises(InputError, match=r"^--guidance: U-Net segmenter is no classifier"):
        config.task()
