"""Every file of a data folder is read, named as ignored, or refused."""

import os
import zipfile

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
