"""Preparing once with TFDS and reading back."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.base.files import cache_folder
from btjax.data import builder, prepared
from btjax.data.builder import load
from btjax.data.contents import contents_fingerprint
from btjax.data.sources import find_source
from btjax.readers.raw import prepare
from tests.readers import forms
from tests.readers.forms import assemble


def assert_equal_slices(found, expected):
    assert set(found.fields()) == set(expected.fields())
    assert found.classes == expected.classes
    for name, values in expected.fields().items():
        np.testing.assert_array_equal(found.fields()[name], values, err_msg=name)
        assert found.fields()[name].dtype == values.dtype, name


@pytest.fixture
def folder(tmp_path):
    return forms.write_manifest(tmp_path / "data", forms.make_slices(12))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def copies(cache):
    """The prepared copies in a cache."""
    return sorted((cache / "brain_tumours").glob(f"*/{prepared.READER_VERSION}"))


@pytest.mark.parametrize("image_size", [8, 13, 32])
@pytest.mark.parametrize("write", [forms.write_manifest, forms.write_mat_folder, forms.write_classes])
def test_first_load_and_reload_give_what_the_readers_give(tmp_path, cache, write, image_size):
    folder = write(tmp_path / "data", forms.make_slices(12))
    expected = assemble(find_source(folder).read(), image_size)
    assert_equal_slices(load(folder, image_size, cache), expected)
    assert_equal_slices(load(folder, image_size, cache), expected)


def test_classes_of_any_names_are_kept(tmp_path, cache):
    folder = forms.write_classes(tmp_path / "data", forms.make_slices(12), ("healthy", "Astrocytoma", "glioma"))
    source = find_source(folder)
    expected = assemble(source.read(), 8, source.classes)
    assert expected.classes == ("glioma", "astrocytoma", "no_tumor")
    assert_equal_slices(load(folder, 8, cache), expected)
    assert_equal_slices(load(folder, 8, cache), expected)


def test_slices_without_labels_are_kept(folder, cache):
    forms.write_manifest(folder, forms.make_slices(12), columns=("id", "pid"))
    source = find_source(folder, labelled=False)
    first = load(source, 8, cache)
    assert first.labels is None
    assert_equal_slices(first, assemble(source.read(), 8))
    assert_equal_slices(load(source, 8, cache), first)


def test_classes_and_whether_labels_are_known_are_part_of_the_copy(folder, cache):
    source = find_source(folder)
    other = dataclasses.replace(source, classes=("a", "b", "c"))
    unlabelled = dataclasses.replace(source, known=source.known - {"label"})
    cache.mkdir()
    assert len({contents_fingerprint(each, cache) for each in (source, other, unlabelled)}) == 3


def test_many_shards_keep_the_order(folder, cache, monkeypatch):
    monkeypatch.setattr(prepared, "_SHARD_BYTES", 3 * 16 * 16)
    assert_equal_slices(load(folder, 16, cache), assemble(find_source(folder).read(), 16))
    (copy,) = copies(cache)
    assert len(list(copy.glob("*.array_record-*"))) == 4


def test_a_reload_decodes_nothing(folder, cache, monkeypatch):
    first = load(folder, 16, cache)
    monkeypatch.setattr(prepared, "prepare", None)
    assert_equal_slices(load(folder, 16, cache), first)


def test_a_changed_file_is_read_again(folder, cache):
    first = load(folder, 32, cache)
    changed = forms.make_slices(12, seed=1)
    forms.write_manifest(folder, changed)
    path = folder / "manifest.csv"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    second = load(folder, 32, cache)
    assert (second.images != first.images).any()
    assert_equal_slices(second, assemble(find_source(folder).read(), 32))


def test_size_and_reader_version_are_part_of_the_copy(folder, cache, monkeypatch):
    load(folder, 8, cache)
    load(folder, 16, cache)
    assert len(copies(cache)) == 2
    monkeypatch.setattr(prepared.BrainTumours, "VERSION", prepared.tfds.core.Version("1.0.1"))
    load(folder, 8, cache)
    assert len(list((cache / "brain_tumours").glob("*/1.0.1"))) == 1


def test_each_way_of_preparing_has_a_copy_of_its_own_and_the_default_keeps_its_name(folder, cache):
    source, ways = find_source(folder), [{}, {"intensity_range": "percentile"}, {"head_mask": True}]
    ways.append({"intensity_range": "percentile", "head_mask": True})
    for way in ways * 2:  # prepared, then read back
        found = load(folder, 16, cache, **way).images
        np.testing.assert_array_equal(found, [prepare(raw, 16, **way)[0] for raw in source.read()])
    stem = f"16px_{contents_fingerprint(source, cache)}"
    names = [stem, f"{stem}_head", f"{stem}_percentile", f"{stem}_percentile_head"]
    assert [copy.parent.name for copy in copies(cache)] == names


def test_an_unknown_range_is_refused_before_the_cache_is_made(folder, cache):
    with pytest.raises(InputError, match="intensity_range: found 'quantile', expected one of minmax, percentile"):
        load(folder, 16, cache, intensity_range="quantile")
    assert not cache.exists()


def test_a_bad_file_is_named_and_leaves_no_copy(folder, cache):
    (folder / "images" / "5.png").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(InputError, match=r"images/5\.png: expected an image"):
            load(folder, 16, cache)
    assert copies(cache) == []


def test_an_unknown_folder_is_refused_before_the_cache_is_made(tmp_path, cache):
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "absent", 16, cache)
    assert not cache.exists()


KILLED = """
import os, signal, sys
from btjax.data.builder import load
def progress(what, done, total):
    if what == "prepare" and done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
load(sys.argv[1], 16, sys.argv[2], progress)
"""


def test_a_killed_preparation_leaves_nothing_that_counts(folder, cache):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(cache)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert copies(cache) == []
    assert len(list(cache.rglob("incomplete.*"))) > 0
    assert_equal_slices(load(folder, 16, cache), assemble(find_source(folder).read(), 16))
    assert list(cache.rglob("incomplete.*")) == []


def test_two_loads_at_once_prepare_once(folder, cache):
    calls, results = [], []

    def progress(what, done, total):
        calls.append((what, done))

    threads = [threading.Thread(target=lambda: results.append(load(folder, 16, cache, progress))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls.count(("prepare", 12)) == 1
    assert calls.count(("hash", 1)) == 1
    assert calls.count(("read", 12)) == 2
    assert_equal_slices(results[0], results[1])


def test_a_damaged_copy_is_named(folder, cache):
    load(folder, 16, cache)
    (record,) = copies(cache)[0].glob("*.array_record-*")
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        load(folder, 16, cache)


def test_progress_counts_slices(folder, cache):
    calls = []
    load(folder, 16, cache, progress=lambda *call: calls.append(call))
    files = len(find_source(folder).files)
    hashed = [("hash", done, files) for done in range(1, files + 1)]
    assert calls == hashed + [(what, row, 12) for what in ("prepare", "read") for row in range(1, 13)]


LIGHT = """
import sys, types
package = types.ModuleType("btjax")  # what btjax's own __init__ imports is not of interest here
package.__path__ = sys.argv[1:]
sys.modules["btjax"] = package
import btjax.data.dataset, btjax.data.builder
heavy = {"sklearn", "scipy", "matplotlib", "tensorflow_datasets", "tensorflow"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""


def test_importing_the_readers_imports_nothing_heavy():
    command = [sys.executable, "-c", LIGHT, str(pathlib.Path(builder.__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


QUIET = """
import sys
import tempfile
from btjax.data.builder import load
load(sys.argv[1], 16, sys.argv[2])
assert "tensorflow" not in sys.modules
"""


def test_loading_prints_nothing_and_imports_no_tensorflow(folder, cache):
    command = [sys.executable, "-W", "error", "-c", QUIET, str(folder), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_cache_is_where_the_environment_says(folder, cache, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(cache))
    load(folder, 8)
    assert len(copies(cache)) == 1
    monkeypatch.delenv("BTJAX_CACHE")
    assert cache_folder().parts[-2:] == (".cache", "btjax")


def test_a_cache_that_cannot_be_made_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"file.*BTJAX_CACHE"):
            load(folder, 8, place)


def test_without_a_folder_the_published_data_are_downloaded_once(cache, monkeypatch):
    calls = []

    def fake_download(folder, progress, trust_present):
        calls.append(trust_present)
        forms.write_zips(folder, forms.make_slices(4))

    monkeypatch.setattr(builder.download, "download_figshare", fake_download)
    assert len(load(None, 8, cache)) == 4
    assert calls == [True]
    assert (cache / "figshare" / "a.zip").exists()


@pytest.mark.real
def test_the_real_slices_are_what_the_dataset_says(real_slices_dir, tmp_path):
    slices = load(real_slices_dir, 32, tmp_path)
    assert np.bincount(slices.labels).tolist() == [708, 1426, 930]
    assert len(set(slices.patients)) == 233
    assert len(set(slices.families)) == 209
    assert np.bincount(slices.folds)[1:].tolist() == [570, 655, 562, 613, 664]
    assert sorted(set(slices.patients[(slices.sizes == 256).all(axis=1)])) == ["108931"]
    assert (slices.sizes == 256).all(axis=1).sum() == 15
    assert slices.masks.any(axis=(1, 2)).all()
    assert slices.ids.tolist() == [str(number) for number in range(1, 3065)]


@pytest.mark.parametrize("name", prepared.DESCRIPTIONS)
def test_a_damaged_description_of_a_copy_is_one_line_and_the_whole_one_is_read_again(folder, cache, name):
    first = load(folder, 8, cache)
    (copy,) = copies(cache)
    whole = (copy / name).read_bytes()
    for content in (None, b"", whole[: len(whole) // 2], b"[]", b"{}", whole.replace(b"a", b"b", 1)):
        (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is damaged.*delete that folder") as caught:
            load(folder, 8, cache)
        assert "\n" not in str(caught.value)
        (copy / name).write_bytes(whole)
    (copy / prepared.CHECKSUMS).unlink()  # as of an earlier version
    assert_equal_slices(load(folder, 8, cache), first)


def test_preparing_leaves_nothing_in_the_folder_of_temporary_files(folder, cache, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for _ in range(2):
        load(folder, 32, cache)
        assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0" * 24, b"{}", b'{"contents": "0123"}x'])
def test_a_damaged_fingerprint_is_made_anew(folder, cache, content):
    source = find_source(folder)
    cache.mkdir()
    expected = contents_fingerprint(source, cache)
    (known,) = (cache / "contents").glob("*.json")
    known.write_bytes(content)
    assert contents_fingerprint(source, cache) == expected
