"""Every file of a data folder is read, named as ignored, or refused."""

import dataclasses
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from btjax.base.errors import InputError
from btjax.data.sources import find_source
from btjax.readers.walk import walk
from tests.readers import forms


@pytest.fixture
def folder(tmp_path):
    """Class folders of six slices."""
    return forms.write_classes(tmp_path / "data", forms.make_slices(6))


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").save(path)
    return path


def test_a_folder_of_slices_alone_needs_no_note(folder):
    assert find_source(folder).notes == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("README.md", "1 note (README.md)"),
        ("glioma/labels.csv", "1 note (glioma/labels.csv)"),
        ("model.pkl", "1 file of other kinds (model.pkl)"),
        ("cvind.mat", "1 file of folds, which this form does not use (cvind.mat)"),
        (".DS_Store", "1 hidden (.DS_Store)"),
        (".Trash-1000/files/glioma/x.png", "1 hidden (.Trash-1000)"),
        ("$RECYCLE.BIN/glioma/x.png", "1 of the operating system ($RECYCLE.BIN)"),
        ("__MACOSX/glioma/._x.png", "1 of the operating system (__MACOSX)"),
        ("lost+found/x.png", "1 of the operating system (lost+found)"),
        ("glioma/@eaDir/x.png", "1 of the operating system (glioma/@eaDir)"),
        ("glioma/Thumbs.db", "1 left by other programs (glioma/Thumbs.db)"),
        ("glioma/x.png.crdownload", "1 left by other programs (glioma/x.png.crdownload)"),
        ("glioma/thumbnails/x.png", "1 thumbnail (glioma/thumbnails/x.png)"),
        ("glioma/1_thumb.png", "1 thumbnail (glioma/1_thumb.png)"),
    ],
)
def test_what_is_no_slice_is_ignored_with_its_reason(folder, name, reason):
    picture(folder / "x.png").rename(folder / "x")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "x").rename(path)
    source = find_source(folder)
    assert source.notes == (f"ignored: {reason}",)
    assert len(list(source.read())) == 6


@pytest.mark.parametrize("name", ["7.mat", "more/7.mat"])
def test_two_forms_in_one_folder_are_refused(folder, name):
    (folder / "more").mkdir()
    (folder / name).write_bytes(forms.mat_bytes(forms.make_slices(7)[6]))
    with pytest.raises(InputError, match="expected one form in one folder"):
        find_source(folder)


def test_class_folders_beside_a_manifest_are_refused(tmp_path):
    folder = forms.write_manifest(tmp_path / "data", forms.make_slices(6))
    picture(folder / "glioma" / "x.png")
    with pytest.raises(InputError, match=r"glioma/x\.png: is no part of the images with manifest\.csv"):
        find_source(folder)


def test_images_that_a_manifest_does_not_list_are_counted(tmp_path):
    folder = forms.write_manifest(tmp_path / "data", forms.make_slices(6))
    picture(folder / "images" / "extra.png")
    (note,) = find_source(folder).notes
    assert note == "ignored: 1 file that manifest.csv does not list (images/extra.png)"


def test_a_zip_that_stands_unpacked_beside_itself_is_ignored_and_another_refused(folder):
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    (note,) = find_source(folder).notes
    assert note == "ignored: 1 zip unpacked here (archive.zip)"
    with zipfile.ZipFile(folder / "archive.zip", "a") as archive:
        archive.writestr("glioma/more.png", b"")
    with pytest.raises(InputError, match=r"archive\.zip: holds 1 file \(glioma/more\.png\) that do not stand beside"):
        find_source(folder)


def test_links_to_folders_are_followed_once(folder):
    os.symlink(folder, folder / "glioma" / "loop")
    assert len(walk(folder).files) == 6


def test_a_real_folder_keeps_its_name_beside_a_link_to_it(folder):
    os.symlink(folder / "glioma", folder / "a link")
    source = find_source(folder)
    assert source.notes == ("ignored: 1 link to folders that are read already (a link)",)
    assert [raw.label for raw in source.read()] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("name", ["pipe.png", "pipe"])
def test_a_pipe_is_refused_and_never_waited_for(folder, name):
    os.mkfifo(folder / "glioma" / name)
    with pytest.raises(InputError, match=f"glioma/{name}: found a pipe, expected files and folders alone"):
        find_source(folder)


def test_a_hidden_pipe_is_passed_over(folder):
    os.mkfifo(folder / ".pipe")
    assert find_source(folder).notes == ("ignored: 1 hidden (.pipe)",)


def test_a_link_to_nothing_is_refused(folder):
    os.symlink("nowhere", folder / "notes")
    with pytest.raises(InputError, match="notes: is a link to nothing"):
        find_source(folder)


@pytest.mark.parametrize("word", ["glioma - Copy", "astro (2)", "glioma_train"])
def test_folders_called_like_copies_or_sides_are_no_classes(folder, word):
    picture(folder / word / "x.png")
    with pytest.raises(InputError, match=r"copy|a class and a side"):
        find_source(folder)


@pytest.mark.parametrize(
    "sides", [("Training_dataset", "Testing_dataset"), ("train1", "test_dir"), ("x_train", "x_test")]
)
def test_sides_have_many_names(tmp_path, sides):
    for side in sides:
        for name in ("a", "b"):
            picture(tmp_path / side / name / f"{side}{name}.png")
    source = find_source(tmp_path)
    assert source.classes == ("a", "b")
    assert [raw.side for raw in source.read()].count("test") == 2


def test_a_manifest_below_the_data_folder_is_refused(tmp_path):
    for site in ("site1", "site2"):
        forms.write_manifest(tmp_path / site, forms.make_slices(2))
    with pytest.raises(InputError, match=r"manifest\.csv: is a manifest below the data folder|masks"):
        find_source(tmp_path)


def test_a_mask_that_covers_the_corners_and_a_blank_slice_are_refused_in_every_form(tmp_path):
    tiny = forms.make_slices(3)
    for name, changed in (("mask", {"mask": ~tiny[0].mask}), ("image", {"image": np.full_like(tiny[0].image, 7)})):
        folder = forms.write_mat_folder(tmp_path / name, [dataclasses.replace(tiny[0], **changed), *tiny[1:]])
        with pytest.raises(InputError, match=r"looks inverted|one grey level alone"):
            list(find_source(folder).read())


def test_an_error_about_an_odd_name_is_one_line(folder):
    (folder / "a\nb").mkdir()
    picture(folder / "a\nb" / "gt" / "x.png")
    with pytest.raises(InputError) as caught:
        find_source(folder)
    assert "\n" not in str(caught.value)
