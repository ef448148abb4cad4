"""A run whose slices are read from files is the run that has them in memory."""

import dataclasses

import numpy as np
import pytest

import btjax
from btjax.base.errors import InputError
from btjax.base.progress import Observer
from btjax.base.rows import LazyRows
from btjax.data import builder
from btjax.runs.folder import RunFolder
from btjax.runs.seen import TYPICAL
from btjax.studies import typical
from btjax.studies.training import open_job, streams
from tests.readers import forms


class Told(Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def on_message(self, text):
        self.lines.append(text)


def test_a_streamed_run_has_the_weights_predictions_and_report_of_a_resident_one(tmp_path, standard_promotion):
    folder = forms.write_manifest(tmp_path / "data", forms.make_slices(60))
    config = btjax.preset("cnn_demo").replace("data.data_dir", str(folder)).replace("data.image_size", 32)
    config = config.replace("data.protocol", "slice").replace("training.epochs", 1)
    config = config.replace("model.widths", (4, 8)).replace("model.pools", 2)
    assert config.augmentation.flip  # so that mirrored slices are predicted too
    told = Told()
    runs = {
        stream: btjax.train(config, tmp_path / str(stream), cache_dir=tmp_path / "cache", stream=stream, observer=told)
        for stream in (False, True)
    }
    assert sum("--stream" in line for line in told.lines) == 1
    first, second = (run.predictions for run in runs.values())
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), err_msg=field.name)
    reports = [run.report for run in runs.values()]
    same = dict(training=None)
    assert dataclasses.replace(reports[0], **same) == dataclasses.replace(reports[1], **same)
    assert btjax.evaluate(runs[False], cache_dir=tmp_path / "cache", stream=True).test == reports[0].test


@pytest.mark.parametrize("system", ["segmenter", "joint"])
def test_a_streamed_network_that_outlines_has_the_outlines_and_report_of_a_resident_one(
    tmp_path, standard_promotion, system, monkeypatch
):
    monkeypatch.setattr("btjax.base.rows._PART_BYTES", 8 * 32 * 32)  # masks are compared in several parts
    folder = forms.write_manifest(tmp_path / "data", forms.make_slices(40))
    config = btjax.preset(f"{system}_cpu").replace("data.data_dir", str(folder)).replace("data.image_size", 32)
    config = config.replace("data.protocol", "slice").replace("training.epochs", 1).replace("model.width", 4)
    first, second = (
        btjax.train(config, tmp_path / str(stream), cache_dir=tmp_path / "cache", stream=stream)
        for stream in (False, True)
    )
    for field in dataclasses.fields(first.outlines):
        np.testing.assert_array_equal(getattr(first.outlines, field.name), getattr(second.outlines, field.name))
    reports = [dataclasses.replace(run.report, training=None) for run in (first, second)]
    assert reports[0] == reports[1]
    assert reports[1].test.slices > 0


def test_what_is_typical_of_a_data_set_that_exceeds_memory_is_found_from_its_files(
    tmp_path, standard_promotion, monkeypatch
):
    folder = forms.write_manifest(tmp_path / "data", forms.make_slices(60))
    config = btjax.preset("cnn_demo").replace("data.data_dir", str(folder)).replace("data.image_size", 32)
    config = config.replace("data.protocol", "slice").replace("training.epochs", 1)
    run = btjax.train(config, tmp_path / "run", cache_dir=tmp_path / "cache", stream=True)
    found, loaded, load_data = [], [], typical.load_data

    def watched(*rest, **options):
        loaded.append(load_data(*rest, **options))
        return loaded[-1]

    monkeypatch.setattr(typical, "load_data", watched)
    for memory in (1 << 40, 60 * 32 * 32):
        monkeypatch.setattr(builder, "machine_memory", lambda memory=memory: memory)
        found.append(typical.typical_of(run, cache_dir=tmp_path / "cache").arrays())
        (run.folder / TYPICAL).unlink()
    assert [type(data.slices.images) for data in loaded] == [np.ndarray, LazyRows]
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values, err_msg=name)


def test_what_keeps_features_in_memory_is_not_streamed(tmp_path):
    config = btjax.preset("vgg16_paper")
    with pytest.raises(InputError, match=r"--stream: vgg16 computes features .* or --nofeature_cache"):
        streams(config, True)
    with pytest.raises(InputError, match="--stream: cheng2015 computes features"):
        open_job(btjax.preset("cheng2015"), RunFolder(tmp_path), stream=True)
    assert streams(config, None) is False and streams(config.replace("extra.feature_cache", False), True) is True
    assert streams(btjax.preset("cnn_cpu"), None) is None
    whole = config.replace("training.layer_rates", ("*=1",))  # the cache has nothing to keep
    assert streams(whole, True) is True and streams(whole, None) is None
    joint = btjax.preset("joint_efficientnet_b0").replace("training.layer_rates", ("stem/*=0", "*=1"))
    assert streams(joint, True) is True
