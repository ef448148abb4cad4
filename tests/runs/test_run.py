import dataclasses

import numpy as np
import pytest

import btjax
from btjax.base.batches import in_batches, padded_batches
from btjax.base.errors import InputError
from btjax.base.files import read_json, write_json
from btjax.data.dataset import load_data
from btjax.data.phantom import make_phantom
from btjax.readers.raw import scale_slice
from btjax.runs.folder import RunFolder
from btjax.systems.config import Config
from btjax.training.progress import Progress
from tests.training.blobs import blob_split, make_blobs


@pytest.fixture
def started(tmp_path):
    """A run that has saved a checkpoint of something."""
    run = RunFolder(tmp_path / "run")
    run.start(Config.default("cnn"), blob_split(make_blobs()), "slices")
    (run.path / "checkpoints" / "last" / "1").mkdir(parents=True)
    return run


def test_a_started_run_gives_its_config_back(started):
    assert started.config().to_json() == Config.default("cnn").to_json()


def test_a_resumed_run_must_have_the_rows_that_it_was_started_on(started):
    config = Config.default("cnn")
    started.start(config, blob_split(make_blobs()), "slices")
    with pytest.raises(InputError, match="expected the same data set"):
        started.start(config, blob_split(make_blobs(), seed=1), "slices")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"experiment": "cnn"}', '{"experiment": "resnet", "seed": 0}', "3", "[" * 100_000]
)
def test_a_config_that_is_none_is_one_clear_line(started, text):
    (started.path / "config.json").write_text(text)
    for action in (lambda: btjax.restore(started.path), lambda: started.check(Config.default("cnn"), True)):
        with pytest.raises(InputError, match=r"config\.json") as caught:
            action()
        assert "\n" not in str(caught.value)


def test_a_config_of_an_earlier_version_takes_defaults_for_newer_options(started):
    values = read_json(started.path / "config.json")
    del values["training"]["prng"]
    write_json(started.path / "config.json", values)
    assert started.config().training.prng == "threefry2x32"
    started.check(Config.default("cnn"), True)


def test_a_run_that_never_saved_can_begin_anew_with_other_options(tmp_path):
    run = RunFolder(tmp_path)
    run.start(Config.default("cnn"), blob_split(make_blobs()), "slices")
    other = dataclasses.replace(Config.default("cnn"), seed=1)
    run.check(other, False)
    run.start(other, blob_split(make_blobs(), seed=1), "slices")
    assert run.config().seed == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"not a btjax run and not empty \(found thesis\.tex"):
        RunFolder(tmp_path).check(Config.default("cnn"), False)
    with pytest.raises(InputError, match="found a file"):
        RunFolder(tmp_path / "thesis.tex").check(Config.default("cnn"), False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_restoring_where_there_is_no_run_or_checkpoint_says_so(started, tmp_path):
    with pytest.raises(InputError, match=r"config\.json: not found"):
        btjax.restore(tmp_path / "nothing")
    with pytest.raises(InputError, match="no checkpoint found"):
        btjax.restore(started.path)


def test_a_write_that_fails_leaves_the_previous_file_and_nothing_beside_it(started):
    def half(beside):
        beside.write_text("half")
        raise RuntimeError("no room")

    started.write_json("report.json", {"accuracy": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        started.write_json("report.json", {"accuracy": np.nan})
    with pytest.raises(InputError, match=r"report\.json: cannot be written: no room"):
        started.write("report.json", half)
    assert read_json(started.path / "report.json") == {"accuracy": 0.5}
    assert not list(started.path.glob("*.part"))


def test_a_name_that_is_no_text_does_not_cost_the_page_on_which_it_stands(started):
    started.write_text("report.html", "data: T\udce9te")
    assert (started.path / "report.html").read_text(encoding="utf-8") == r"data: T\udce9te"


def test_a_run_of_other_classes_is_refused_with_both(started):
    slices = make_blobs()
    config = Config.default("cnn").with_classes(("glioma", "meningioma", "no_tumor", "pituitary"))
    with pytest.raises(InputError, match=r"its 4 classes are glioma, .*trained on 3: meningioma, glioma, pituitary"):
        started.check_data(config, blob_split(slices), "slices", "--data_dir=other")


def test_a_run_of_another_system_is_refused(started):
    with pytest.raises(InputError, match="holds a run of cnn, now encoder_classifier"):
        started.check(Config.default("encoder_classifier"), True)


def test_a_report_of_the_first_schema_says_how_to_write_it_again(started):
    started.write_json("report.json", {"test": {"accuracy": 0.9}})
    with pytest.raises(InputError, match="report of schema 1, expected 3: --eval_only writes it again"):
        btjax.Run(started.path).report  # noqa: B018


@pytest.mark.parametrize("values", [[], 3, {"schema": 2}, {"schema": 2, "task": "classification"}])
def test_a_report_that_is_none_is_one_clear_line(started, values):
    started.write_json("report.json", values)
    with pytest.raises(InputError, match=r"report\.json") as caught:
        btjax.Run(started.path).report  # noqa: B018
    assert "\n" not in str(caught.value)


def test_a_run_of_other_slices_with_the_same_rows_is_refused(started):
    config, split = Config.default("cnn"), blob_split(make_blobs())
    started.start(config, split, "slices")
    with pytest.raises(InputError, match="the fingerprint of its slices is others"):
        started.start(config, split, "others")


def test_a_run_keeps_how_its_slices_were_prepared_and_its_weights(tmp_path):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 2).replace("data.phantom_slices", 2)
    config = config.replace("data.image_size", 32).replace("training.class_weights", "balanced")
    config = config.replace("data.intensity_range", "percentile").replace("data.head_mask", True)
    run = RunFolder(tmp_path / "run")
    run.start(config, blob_split(make_blobs()), "slices")
    (run.path / "checkpoints" / "last" / "1").mkdir(parents=True)
    kept = run.config()
    assert kept.training.class_weights == "balanced"
    plain = make_phantom(2, 2, 32, config.data.phantom_seed).images
    expected = [scale_slice(image, "", "percentile", True) for image in plain]
    np.testing.assert_array_equal(load_data(kept.data).slices.images, expected)  # what --resume and --eval_only load
    run.check(config, True)
    for name, value in [
        ("data.intensity_range", "minmax"),
        ("data.head_mask", False),
        ("training.class_weights", "none"),
    ]:
        with pytest.raises(InputError, match=f"holds a run with {name.split('.')[1]}="):
            run.check(config.replace(name, value), True)


def test_a_network_trained_on_mirrored_slices_predicts_them_mirrored_too(tmp_path, standard_promotion):
    config = btjax.preset("cnn_demo").replace("training.epochs", 1).replace("data.phantom_patients", 6)
    config = config.replace("data.image_size", 32).replace("data.phantom_slices", 2).replace("model.pools", 3)
    run = btjax.train(config.replace("model.widths", (4, 4, 4)), tmp_path / "run")
    predictions, images = run.predictions, make_phantom(6, 2, 32).images
    held_out = predictions.sides != "train"
    assert np.isnan(predictions.flipped[~held_out]).all()
    expected = run.logits(np.ascontiguousarray(images[held_out, :, ::-1]))
    np.testing.assert_allclose(predictions.flipped[held_out], expected, atol=1e-5)
    assert not np.allclose(expected, predictions.logits[held_out], atol=1e-3)


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[]", "not JSON", '{"system": "cnn", "seed": -1}'])
@pytest.mark.parametrize("resume", [False, True])
def test_a_config_of_another_program_is_refused_and_stays(tmp_path, text, resume):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"not a btjax run \(.*config\.json.*expected a new folder"):
        RunFolder(tmp_path).check(Config.default("cnn"), resume)
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("name", ["report.json", "predictions.npz", "outlines.npz", "fitted.skops"])
def test_results_without_checkpoints_are_not_begun_anew(tmp_path, name):
    run = RunFolder(tmp_path)
    run.start(Config.default("cnn"), blob_split(make_blobs()), "slices")
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="holds a run already"):
        run.check(Config.default("cnn"), False)


def test_a_run_that_another_command_holds_is_refused_before_anything_is_read(tmp_path):
    config = Config.default("linear").replace("data.data_dir", "no/such/folder")
    with RunFolder(tmp_path / "run").held():
        for call in (
            lambda: btjax.train(config, tmp_path / "run"),
            lambda: btjax.train_several({"run": config}, tmp_path),
        ):
            with pytest.raises(InputError, match=r"run: held by process \d+ on "):
                call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, -1, "8", None, 1.5, True])
def test_a_batch_size_that_is_none_is_a_value_error(size):
    for call in (
        lambda: next(padded_batches(size, np.zeros(3))),
        lambda: in_batches(lambda rows: rows, size, np.zeros(3)),
    ):
        with pytest.raises(ValueError, match=r"batch_size is .*, expected a whole number of at least 1"):
            call()


def test_predictions_of_labels_that_are_no_classes_are_a_value_error():
    ids, sides, logits = np.array(["a", "b"]), np.array(["test", "test"]), np.zeros((2, 3), np.float32)
    for labels in ([0, 9], [-1, 0], [0.0, 1.0]):
        with pytest.raises(ValueError, match="labels must be integers from 0 to 2"):
            btjax.Predictions(ids, np.array(labels), sides, logits, ("a", "b", "c"))


@pytest.mark.parametrize(
    "values", [{}, {"epoch": 3}, {"epoch": "3", "history": []}, {"epoch": 1, "history": [], "x": 1}]
)
def test_progress_that_does_not_say_how_far_a_run_had_come_is_damage(tmp_path, values):
    with pytest.raises(InputError, match="does not say how far the run had come"):
        Progress.of(values, tmp_path)


def test_a_row_of_metrics_that_the_checkpoint_does_not_hold_is_named(tmp_path):
    run = RunFolder(tmp_path)
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    run.checkpoints.save("last", {"a": np.zeros(2)}, 2, {"history": rows})
    run.write_metrics(rows)
    assert run.history() == rows
    run.write_metrics([*rows, {"epoch": 3, "loss": 0.125}])  # killed before the checkpoint of that epoch
    assert len(run.history()) == 3
    run.write_metrics([rows[0], {"epoch": 2, "loss": 0.75}])
    with pytest.raises(InputError, match=r"metrics\.jsonl: damaged: row 2 is not what the checkpoint holds"):
        run.history()
