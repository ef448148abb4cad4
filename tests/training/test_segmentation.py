"""The segmentation task: its loss, its training, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.data.augment import Augmentation
from btjax.data.bits import pack_masks
from btjax.data.preprocess import Preprocessing
from btjax.models.segmenter import Segmenter, tumour_probability
from btjax.training import loop
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.many import ManyTrainer
from btjax.training.progress import Interrupted
from btjax.training.segmentation import Segmentation, coarse_masks, soft_dice
from tests.training.blobs import blob_split, make_blobs
from tests.training.trainers import StopAt, same_bits

BLOBS = make_blobs()
SLICES = dataclasses.replace(BLOBS, masks=BLOBS.images >= 150)
SPLIT = blob_split(SLICES)
EXAMPLES = Examples.of(SLICES, SPLIT, masks=True)
CONFIG = TrainingConfig(epochs=3, batch_size=16, select="validation_dice", learning_rate=0.01)


def make_task(**options) -> Segmentation:
    model = Segmenter(width=4, halvings=2, convolutions=1)
    return Segmentation(model, Preprocessing("grey"), Augmentation(flip=True, shift=0.1), **options)


def make_batch(count: int = 6) -> dict[str, jax.Array]:
    batch = {
        "images": SLICES.images[:count],
        "labels": SLICES.labels[:count],
        "masks": pack_masks(SLICES.masks[:count]),
    }
    return {name: jnp.asarray(array) for name, array in batch.items()} | {"counted": jnp.arange(count) < count - 1}


def logits_and_truth() -> tuple[np.ndarray, np.ndarray]:
    """Logits and pixel classes of five slices, the last of them without tumour."""
    random = np.random.default_rng(0)
    truth = np.where(random.random((5, 6, 6)) < 0.3, random.integers(1, 4, (5, 1, 1)), 0)
    truth[4] = 0
    return random.normal(size=(5, 6, 6, 4)).astype(np.float32), truth


@pytest.mark.parametrize("dice_weight", [0.0, 0.3, 1.0])
def test_the_loss_is_pytorchs_cross_entropy_and_one_minus_dice(torch, dice_weight):
    logits, truth = logits_and_truth()
    on_torch = torch.tensor(np.moveaxis(logits, -1, 1), requires_grad=True)
    entropy = torch.nn.functional.cross_entropy(on_torch, torch.tensor(truth), reduction="none").mean(dim=(1, 2))
    tumour, mask = 1 - torch.softmax(on_torch, dim=1)[:, 0], torch.tensor(truth > 0).float()
    shared, sizes = (tumour * mask).sum(dim=(1, 2)), tumour.sum(dim=(1, 2)) + mask.sum(dim=(1, 2))
    expected = ((1 - dice_weight) * entropy + dice_weight * (1 - (2 * shared + 1) / (sizes + 1)))[:4].mean()
    expected.backward()
    task, labels = make_task(dice_weight=dice_weight), np.maximum(truth.max(axis=(1, 2)) - 1, 0).astype(np.int32)
    batch = {"labels": jnp.asarray(labels), "counted": jnp.arange(5) < 4}

    def loss(logits):
        sums = task._sums(logits, jnp.asarray(truth > 0), batch, {})
        return sums["loss"] / sums["count"]

    found, gradient = jax.value_and_grad(loss)(jnp.asarray(logits))
    np.testing.assert_allclose(found, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.moveaxis(on_torch.grad.numpy(), 1, -1), rtol=1e-4, atol=1e-7)


def test_the_loss_of_known_probabilities_is_its_closed_form():
    # Two pixels of tumour with probability 3/4, two of background with 1/4: 1 - (2 * 1.5 + 1) / (1.5 + 0.5 + 2 + 1).
    probabilities = jnp.array([[[0.75, 0.75], [0.25, 0.25]]])
    masks = jnp.array([[[True, True], [False, False]]])
    np.testing.assert_allclose(soft_dice(probabilities, masks), [0.2], rtol=1e-6)
    # Without tumour a blank outline costs nothing and a full one nearly everything.
    empty = jnp.zeros((1, 2, 2), bool)
    np.testing.assert_allclose(soft_dice(jnp.ones((1, 2, 2)), empty), [0.8], rtol=1e-6)


def test_the_probability_of_a_tumour_is_one_minus_the_backgrounds():
    logits = jnp.asarray(logits_and_truth()[0])
    np.testing.assert_allclose(tumour_probability(logits), 1 - jax.nn.softmax(logits)[..., 0], rtol=1e-5, atol=1e-6)


def test_a_coarse_pixel_is_tumour_where_half_of_it_is():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, :2] = mask[0, 2, 2] = True
    assert coarse_masks(jnp.asarray(mask), 2).tolist() == [[[True, False], [False, False]]]
    with pytest.raises(ValueError, match="masks of 4 pixels cannot be compared with an output of 3"):
        coarse_masks(jnp.asarray(mask), 3)


def test_rows_that_are_padding_and_weights_count_as_they_say():
    task, batch = make_task(), make_batch()
    variables = task.initialise(jax.random.key(0), 16)
    sums = task.evaluate(variables, batch)
    other = batch | {"masks": batch["masks"].at[-1].set(255), "images": batch["images"].at[-1].set(255)}
    for name, value in task.evaluate(variables, other).items():
        np.testing.assert_allclose(value, sums[name], rtol=1e-6)
    logits = task.outputs(variables, batch["images"])
    masks = jnp.asarray(SLICES.masks[:6])
    doubled = task._sums(logits, masks, batch, variables["params"], jnp.full(6, 2.0))
    np.testing.assert_allclose(doubled["loss"], 2 * sums["loss"], rtol=1e-5)
    np.testing.assert_allclose(doubled["dice"], sums["dice"], rtol=1e-5)


def test_training_on_blobs_reaches_a_dice_that_no_constant_outline_does():
    config = dataclasses.replace(CONFIG, epochs=8)
    history = Trainer(make_task(), config, EXAMPLES, 0).fit().history
    masks = np.asarray(coarse_masks(jnp.asarray(SLICES.masks), 8))
    train, validation = masks[SPLIT.train], masks[SPLIT.validation]
    constants = [train.mean(axis=0) >= share for share in np.linspace(0.02, 1, 30)]

    def dice(constant):
        return np.mean(2 * (constant & validation).sum(axis=(1, 2)) / (constant.sum() + validation.sum(axis=(1, 2))))

    best = max(dice(constant) for constant in constants)
    assert history[-1]["validation_dice"] > best + 0.2 and history[-1]["validation_dice"] > 0.8


def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, monkeypatch):
    whole = Trainer(make_task(), CONFIG, EXAMPLES, 0)
    whole.fit()
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        Trainer(make_task(), CONFIG, EXAMPLES, 0, Checkpoints(tmp_path)).fit(StopAt(1, 2))
    resumed = Trainer(make_task(), CONFIG, EXAMPLES, 0, Checkpoints(tmp_path))
    resumed.restore()
    progress = resumed.fit()
    assert same_bits(resumed.state, whole.state)
    assert progress.best["epoch"] == max(whole.progress.history, key=lambda row: row["validation_dice"])["epoch"]


def test_several_runs_in_one_program_are_the_runs_alone():
    parts = [dataclasses.replace(EXAMPLES, train=EXAMPLES.train[:, :rows]) for rows in (40, 60)]
    config = dataclasses.replace(CONFIG, epochs=2, class_weights="balanced")
    many = ManyTrainer(make_task(), config, parts, [0, 1], form="map")
    many.fit()
    for run, part, seed in zip(many.runs, parts, [0, 1], strict=True):
        alone = Trainer(make_task(), config, part, seed)
        alone.fit()
        assert same_bits(run.state.params, alone.state.params)
    other = dataclasses.replace(parts[1], masks=parts[1].masks ^ 1)
    with pytest.raises(InputError, match="share their masks, found others"):
        ManyTrainer(make_task(), config, [parts[0], other], [0, 0])


def test_masks_may_be_empty():
    examples = dataclasses.replace(EXAMPLES, masks=np.zeros_like(EXAMPLES.masks))
    history = Trainer(make_task(), CONFIG, examples, 0).fit().history
    assert history[-1]["validation_dice"] == 1 and np.isfinite(history[-1]["train_loss"])


def test_a_run_without_validation_rows_takes_the_last_epoch():
    examples = dataclasses.replace(EXAMPLES, validation=EXAMPLES.validation[:0])
    trainer = Trainer(make_task(), dataclasses.replace(CONFIG, epochs=1, select="last_epoch"), examples, 0)
    assert trainer.fit().best["epoch"] == 1


@pytest.mark.parametrize(
    ("examples", "options", "message"),
    [
        (Examples.of(SLICES, SPLIT), {}, "a segmentation trains on tumour masks, found slices without"),
        (Examples.of(BLOBS, SPLIT, masks=True), {}, "a segmentation trains on tumour masks, found slices without"),
        (
            EXAMPLES,
            {"select": "validation_accuracy"},
            "a segmentation has no accuracy, expected one of validation_loss, v",
        ),
    ],
)
def test_what_it_cannot_train_on_is_one_line(examples, options, message):
    with pytest.raises(InputError, match=message) as caught:
        Trainer(make_task(), dataclasses.replace(CONFIG, **options), examples, 0)
    assert "\n" not in str(caught.value)
