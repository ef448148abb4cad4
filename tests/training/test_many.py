import dataclasses
import logging
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.training import loop
from btjax.training.config import TrainingConfig
from btjax.training.examples import Examples
from btjax.training.loop import Trainer
from btjax.training.many import ManyTrainer, suitable_form
from btjax.training.progress import Interrupted, NotFinite
from tests.training.blobs import make_blobs, tiny_task
from tests.training.trainers import StopAt, same_bits

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASK = tiny_task(intensity=0.1)
CONSTANT = TrainingConfig(epochs=3, batch_size=16)
COSINE = dataclasses.replace(
    CONSTANT,
    optimizer="adamw",
    weight_decay=0.01,
    schedule="cosine",
    warmup_epochs=1.0,
    layer_rates=("dense/*=0.5@1", "*=1"),
)


def three_folds() -> list[Examples]:
    """Folds of 60, 40 and 50 training rows: 4, 3 and 4 steps; of 15, 5 and 20 validation rows: 1, 1 and 2."""
    slices = make_blobs()
    folds = []
    for fold, (train, validation) in enumerate([(60, 15), (40, 5), (50, 20)]):
        rows = np.random.default_rng(fold).permutation(90).astype(np.int32)
        folds.append(
            Examples(slices.images, slices.labels, rows[None, :train], rows[train : train + validation], image_size=16)
        )
    return folds


FOLDS = three_folds()


def fit_alone(config: TrainingConfig, examples: Examples, seed: int = 0) -> Trainer:
    trainer = Trainer(TASK, config, examples, seed)
    trainer.fit()
    return trainer


@pytest.fixture(scope="module")
def alone():
    """The three folds one by one, under a config."""
    fitted = {}

    def fit(config: TrainingConfig) -> list[Trainer]:
        if config not in fitted:
            fitted[config] = [fit_alone(config, fold) for fold in FOLDS]
        return fitted[config]

    return fit


def make_many(config=CONSTANT, examples=FOLDS, seeds=None, folder=None, resume=False, **settings) -> ManyTrainer:
    checkpoints = folder and [Checkpoints(folder / str(index)) for index in range(len(examples))]
    many = ManyTrainer(TASK, config, examples, seeds or [0] * len(examples), checkpoints, **settings)
    if resume:
        for index in range(len(examples)):
            many.restore(index)
    return many


def assert_same_run(run: Trainer, single: Trainer) -> None:
    """State, counters and history are those of the run alone."""
    for name in ("params", "opt_state", "batch_stats"):
        for leaf, expected in zip(*(jax.tree.leaves(getattr(one.state, name)) for one in (run, single)), strict=True):
            np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-6)
    assert run.state.step == single.state.step and same_bits(run.state.key, single.state.key)
    assert run.progress.best["epoch"] == single.progress.best["epoch"]
    for row, expected in zip(run.progress.history, single.progress.history, strict=True):
        assert row | {"seconds": 0} == pytest.approx(expected | {"seconds": 0}, rel=1e-4)


@pytest.mark.parametrize(
    ("config", "form"), [(CONSTANT, "map"), (COSINE, "map"), (COSINE, "vmap")], ids=["adam", "adamw", "adamw-vmap"]
)
def test_folds_of_different_length_train_as_they_do_alone(alone, config, form):
    many = make_many(config, form=form)
    many.fit()
    singles = alone(config)
    assert [int(run.state.step) for run in many.runs] == [12, 9, 12]
    for run, single in zip(many.runs, singles, strict=True):
        assert_same_run(run, single)
    if form == "map":
        assert all(same_bits(run.state, single.state) for run, single in zip(many.runs, singles, strict=True))


def test_seeds_train_as_they_do_alone(alone):
    many = make_many(examples=[FOLDS[0]] * 2, seeds=[0, 7])
    many.fit()
    assert_same_run(many.runs[0], alone(CONSTANT)[0])
    assert_same_run(many.runs[1], fit_alone(CONSTANT, FOLDS[0], 7))
    assert not same_bits(many.runs[0].state.params, many.runs[1].state.params)


def test_each_run_stops_early_when_it_would_alone_and_keeps_its_best(alone, tmp_path):
    config = dataclasses.replace(CONSTANT, epochs=6, patience=1, learning_rate=0.1, schedule="plateau")
    many = make_many(config, folder=tmp_path)
    many.fit()
    assert len({run.progress.epoch for run in many.runs}) > 1
    for run, single in zip(many.runs, alone(config), strict=True):
        assert_same_run(run, single)
        assert run.progress.epoch - run.progress.best["epoch"] == 1
        variables, saved = run.checkpoints.load("best", run.state.variables)
        assert saved["best"]["epoch"] == run.progress.best["epoch"]
        sums = run.evaluate(variables, run.dataset, *run.validation)
        assert float(sums["loss"] / sums["count"]) == pytest.approx(run.progress.best["validation_loss"], rel=1e-5)


@pytest.mark.parametrize("place", [(1, 2), (0, 3)])
def test_stopped_runs_resume_to_the_same_bits(tmp_path, monkeypatch, alone, place):
    monkeypatch.setattr(loop, "_CHUNK_SECONDS", 0.0)  # the host looks in after every step
    with pytest.raises(Interrupted, match="--resume"):
        make_many(folder=tmp_path).fit([StopAt(*place), Observer(), Observer()])
    saved = [Checkpoints(tmp_path / str(index)).progress("last") for index in range(3)]
    assert [(progress["epoch"], progress["steps"]) for progress in saved] == [place] * 3
    resumed = make_many(folder=tmp_path, resume=True)
    resumed.fit()
    assert all(same_bits(run.state, single.state) for run, single in zip(resumed.runs, alone(CONSTANT), strict=True))


def test_runs_that_stand_at_different_places_go_on_together(tmp_path, alone):
    begun = Trainer(TASK, CONSTANT, FOLDS[1], 0, Checkpoints(tmp_path / "1"))
    with pytest.raises(Interrupted):
        begun.fit(StopAt(1, 1))
    many = make_many(folder=tmp_path)
    many.restore(1)
    many.fit()
    assert all(same_bits(run.state, single.state) for run, single in zip(many.runs, alone(CONSTANT), strict=True))
    again = make_many(folder=tmp_path, resume=True)  # each is a run of its own
    assert [progress.epoch for progress in again.fit()] == [3, 3, 3]


def test_nothing_is_compiled_after_the_first_epoch(caplog):
    first_epochs = []

    class Mark(Observer):
        def on_epoch(self, progress):
            first_epochs.append(len(compilations()))

    def compilations():
        return [record for record in caplog.records if record.getMessage().startswith("Compiling")]

    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        make_many().fit([Observer(), Observer(), Mark()])
    assert first_epochs[0] > 0 and len(set(first_epochs)) == 1


def test_what_is_not_finite_is_told_with_the_runs_name():
    many = make_many(names=["fold_0", "fold_1", "fold_2"])
    poisoned = jax.tree.map(lambda leaf: leaf * jnp.nan, many.runs[1].state.params)
    many.runs[1].state = many.runs[1].state.replace(params=poisoned)
    with pytest.raises(NotFinite, match=r"^fold_1: the loss of step 1 \(epoch 1\) is not finite"):
        many.fit()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": dataclasses.replace(CONSTANT, devices=2)}, "--devices=2: expected 1"),
        ({"config": dataclasses.replace(CONSTANT, prng="rbg"), "form": "vmap"}, "--prng=rbg"),
        ({"examples": [FOLDS[0], dataclasses.replace(FOLDS[1], images=255 - FOLDS[1].images)]}, "share their images"),
    ],
)
def test_what_runs_cannot_share_is_named(options, message):
    with pytest.raises(InputError, match=message):
        make_many(**options)


def test_the_form_follows_from_where_the_data_lies_and_not_from_the_default_platform(monkeypatch):
    many = make_many(examples=FOLDS[:1])
    assert suitable_form(many.dataset) == "map"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert suitable_form(many.dataset) == "map"
    elsewhere = types.SimpleNamespace(devices=lambda: [types.SimpleNamespace(platform="gpu")])
    assert suitable_form({"images": elsewhere}) == "vmap"
