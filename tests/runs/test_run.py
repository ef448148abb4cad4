import dataclasses
import json

import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.runs.run import Run
from tests.base.test_options import default_config
from tests.training.blobs import blob_split, make_blobs


@pytest.fixture
def started(tmp_path):
    """A run that has saved a checkpoint of something."""
    run = Run(tmp_path / "run")
    run.start(default_config("cnn"), blob_split(make_blobs()))
    (run.folder / "checkpoints" / "last" / "1").mkdir(parents=True)
    return run


def test_a_started_run_gives_its_config_back(started):
    assert started.config().to_json() == default_config("cnn").to_json()


def test_a_resumed_run_must_have_the_rows_that_it_was_started_on(started):
    config = default_config("cnn")
    started.start(config, blob_split(make_blobs()))
    with pytest.raises(InputError, match="expected the same data set"):
        started.start(config, blob_split(make_blobs(), seed=1))


@pytest.mark.parametrize("text", ["[]", "{", '{"experiment": "cnn"}', '{"experiment": "resnet", "seed": 0}', "3"])
def test_a_config_that_is_none_is_one_clear_line(started, text):
    (started.folder / "config.json").write_text(text)
    for action in (lambda: btjax.restore(started.folder), lambda: started.check(default_config("cnn"), True)):
        with pytest.raises(InputError, match=r"config\.json") as caught:
            action()
        assert "\n" not in str(caught.value)


def test_a_config_of_an_earlier_version_takes_defaults_for_newer_options(started):
    values = json.loads((started.folder / "config.json").read_text())
    del values["training"]["prng"]
    (started.folder / "config.json").write_text(json.dumps(values))
    assert started.config().training.prng == "threefry2x32"
    started.check(default_config("cnn"), True)


def test_a_run_that_never_saved_can_begin_anew_with_other_options(tmp_path):
    run = Run(tmp_path)
    run.start(default_config("cnn"), blob_split(make_blobs()))
    other = dataclasses.replace(default_config("cnn"), seed=1)
    run.check(other, False)
    run.start(other, blob_split(make_blobs(), seed=1))
    assert run.config().seed == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty and no run"):
        Run(tmp_path).check(default_config("cnn"), False)
    with pytest.raises(InputError, match="found a file"):
        Run(tmp_path / "thesis.tex").check(default_config("cnn"), False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_restoring_where_there_is_no_run_or_checkpoint_says_so(started, tmp_path):
    with pytest.raises(InputError, match=r"config\.json: not found"):
        btjax.restore(tmp_path / "nothing")
    with pytest.raises(InputError, match="no checkpoint found"):
        btjax.restore(started.folder)


def test_a_write_that_fails_leaves_the_previous_file_and_nothing_beside_it(started):
    started.write_json("report.json", {"accuracy": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        started.write_json("report.json", {"accuracy": np.nan})
    with pytest.raises(UnicodeEncodeError):
        started.write_text("report.json", "\ud800")
    assert json.loads((started.folder / "report.json").read_text()) == {"accuracy": 0.5}
    assert not list(started.folder.glob("*.part"))
