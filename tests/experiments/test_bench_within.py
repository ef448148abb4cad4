"""What `scripts/bench` measures of btjax alone."""

import dataclasses

import jax
import numpy as np
import pytest

import btjax
from experiments.bench import __main__ as command
from experiments.bench import cases, predicting, within
from experiments.bench.cases import CASES, Case, flops
from experiments.tables.bench import _speed_note
from tests.experiments.test_bench import SMALL, native


def test_the_wide_layers_are_the_papers_convolutions_from_512_filters_on():
    layers = cases.wide_layers()
    assert len(layers) == 8
    assert layers["paper64/conv_3"] == {"image": [32, 16, 16, 256], "kernel": [3, 3, 256, 512]}
    assert layers["paper128/conv_6"] == {"image": [16, 4, 4, 1024], "kernel": [3, 3, 1024, 1024]}
    in_case = sum(cases.layer_flops(layers[f"paper64/conv_{index}"]) for index in range(3, 7)) / 32
    narrow = dataclasses.replace(CASES["paper64"], widths=CASES["paper64"].widths[:2], dense=0)
    dense = 2 * 3 * 1024 * (1024 + 3)
    assert 3 * in_case + flops(narrow) + dense == flops(CASES["paper64"])


@pytest.mark.parametrize("piece", cases.PIECES)
def test_a_layers_loop_computes_its_piece(piece):
    arguments = within.layer_arguments({"image": [2, 4, 4, 3], "kernel": [3, 3, 3, 5]}, "float32")
    image, _, cotangent = (argument.at[0, 0, 0, 0].set(0) for argument in arguments)
    forward, pull = jax.vjp(lambda *both: native(*both, (1, 1), "SAME"), image, arguments[1])
    image_gradient, kernel_gradient = pull(cotangent)
    expected = {"forward": forward, "image_gradient": image_gradient, "kernel_gradient": kernel_gradient}[piece]
    found = within.layer_loop(within.FUNCTIONS[piece])(arguments, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_loops_time_is_compared_with_that_of_its_steps():
    case = dataclasses.asdict(Case("cnn", 8, 1, 4, (), 4))  # without convolutions: it compiles sooner
    with jax.numpy_dtype_promotion("standard"):
        epoch = within.measure_epoch(2, case, rows=10)
    assert epoch["steps"] == 3 and epoch["rounds"] == 2 and epoch["steps_seconds"] > 0 and epoch["overhead"] > -1
    assert "3 steps" in command.describe_epoch(epoch)[0]


def test_the_folds_share_the_rows(monkeypatch):
    seen = {}

    def compare_times(task, config, examples, seeds):
        seen.update(examples=examples, epochs=config.epochs)
        names = ("together_seconds", "sequence_seconds", "together_epoch_seconds", "sequence_epoch_seconds")
        return dict.fromkeys(names, 1.0) | {"ratio": 1.5, "epoch_ratio": 1.25}

    monkeypatch.setattr(within, "compare_times", compare_times)
    result = within.measure_folds(2, dataclasses.asdict(SMALL["cnn"]), rows=10, folds=5)
    validated = np.concatenate([one.validation for one in seen["examples"]])
    assert sorted(validated) == list(range(10)) and seen["epochs"] == 3
    for one in seen["examples"]:
        assert set(one.train[0]) | set(one.validation) == set(range(10)) and one.train.shape == (1, 8)
    first, second = command.describe_folds(result)
    assert first.endswith("1.50 times as long") and second.endswith("1.25 times as long")


def test_prediction_is_compared_with_the_network_by_turns_on_as_many_files(tmp_path):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 8).replace("data.image_size", 32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        btjax.train(config.replace("training.epochs", 1), tmp_path / "run")
        found = predicting.measure_predict(2, str(tmp_path / "run"), most=64)
    assert found["files"] == 64 and found["rounds"] == 2 and found["picture_side"] == found["image_size"]
    assert 0 < found["predict_share"] < 2 and found["forward_ms_per_image"] > 0
    lines = command.describe_predictions({"speeds": [found], "memory_mib": {"1000": 700}})
    assert "of the network's speed" in lines[0] and lines[1].strip() == "1000 files: 700 MiB"
    assert "700 MiB with 1,000 files" in _speed_note("predict", {"speeds": [found], "memory_mib": {"1000": 700}})


def test_a_folder_of_pictures_holds_as_many_as_are_asked_for_of_some_that_differ(tmp_path):
    predicting.write_pictures(tmp_path, 130, 32)
    contents = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(contents) == 130 and len(set(contents)) == predicting.DIFFERENT and contents[64] == contents[0]


def test_a_run_that_cannot_be_measured_is_no_result(monkeypatch):
    monkeypatch.setattr(command, "ask_once", lambda kind, settings: None if "b" in settings else {"files": 1000})
    assert command.measure_predictions(1, ["b"]) is None
