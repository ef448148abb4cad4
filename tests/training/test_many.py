import dataclasses
import json
import logging
import os
import pathlib
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import btjax
from btjax.base.checkpoints import Checkpoints
from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.data.dataset import load_data
from btjax.systems.config import Config, config_groups
from btjax.training import loop
from btjax.training.config import TrainingConfig
from btjax.training.loop import Examples, Interrupted, NotFinite, Trainer
from btjax.training.many import ManyTrainer, suitable_form
from experiments import command_line
from tests.training.blobs import make_blobs, tiny_task
from tests.training.test_loop import StopAt, same_bits

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


TINY = """
--data_dir=phantom --phantom_patients=6 --phantom_slices=2 --image_size=32 --protocol=patient --colour=grey --folds=3
--widths=4,8 --pools=2 --dense=8 --batch_size=4 --epochs=2 --learning_rate=0.002 --flip
""".split()


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    """Runs the CNN's experiment with flags."""
    cache = tmp_path_factory.mktemp("cache")
    environment = os.environ | {"BTJAX_CACHE": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def run(*flags) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "experiments.cnn", *TINY, *flags]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)

    return run


def metrics(folder: pathlib.Path) -> list[dict]:
    rows = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [row | {"seconds": 0} for row in rows]


def test_all_folds_leaves_a_complete_run_for_each_fold(cnn, tmp_path):
    folder = tmp_path / "folds"
    done = cnn("--all_folds", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "test accuracy of 3 runs: mean" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["fold_0", "fold_1", "fold_2"]
    tested = []
    for fold in range(3):
        restored = btjax.restore(folder / f"fold_{fold}")
        assert restored.config.data.fold == fold
        report = json.loads((folder / f"fold_{fold}" / "report.json").read_text())
        slices = load_data(restored.config.data).slices
        split = btjax.make_split(slices, "patient", fold, 3)
        predictions = restored.probabilities(slices.images[split.test]).argmax(1)
        assert report["test"]["accuracy"] == pytest.approx((predictions == slices.labels[split.test]).mean())
        assert (folder / f"fold_{fold}" / "report.html").exists()
        tested += list(split.test)
    assert sorted(tested) == list(range(len(slices)))

    single = cnn("--fold=1", f"--workdir={tmp_path / 'single'}")
    assert single.returncode == 0, single.stderr
    assert metrics(folder / "fold_1") == metrics(tmp_path / "single")
    evaluated = cnn("--fold=2", "--eval_only", f"--workdir={folder / 'fold_2'}")
    assert evaluated.returncode == 0, evaluated.stderr


def test_seeds_have_folders_and_can_be_added_to(cnn, tmp_path):
    for flags in (["--seeds=1"], ["--seeds=1,4", "--resume"]):
        done = cnn(*flags, "--epochs=1", f"--workdir={tmp_path}")
        assert done.returncode == 0, done.stderr
    assert {btjax.restore(tmp_path / f"seed_{seed}").config.seed for seed in (1, 4)} == {1, 4}


@pytest.mark.parametrize("seeds", ["1,x", "2,2", "-1", "4294967296"])
def test_seeds_that_are_none_are_told(monkeypatch, seeds):
    given = types.SimpleNamespace(seeds=seeds.split(","), all_folds=False)
    monkeypatch.setattr(command_line, "FLAGS", given)
    with pytest.raises(InputError, match=f"--seeds={seeds}: expected distinct non-negative integers"):
        command_line.several_configs(None)


def test_folds_of_several_seeds_are_a_folder_in_a_folder(monkeypatch):
    monkeypatch.setattr(command_line, "FLAGS", types.SimpleNamespace(seeds=["3", "0"], all_folds=True))
    groups = {name: kind() for name, kind in config_groups("cnn").items()}
    groups["data"] = dataclasses.replace(groups["data"], folds=2)
    configs = command_line.several_configs(Config("cnn", 9, **groups))
    expected = {"seed_3/fold_0": (3, 0), "seed_3/fold_1": (3, 1), "seed_0/fold_0": (0, 0), "seed_0/fold_1": (0, 1)}
    assert {name: (config.seed, config.data.fold) for name, config in configs.items()} == expected
