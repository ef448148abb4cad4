"""Class folders of any two or more classes."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from btjax.base.errors import InputError
from btjax.data.builder import load
from btjax.data.slices import CLASSES
from btjax.data.sources import find_source
from tests.data import forms
from tests.data.forms import assert_refused, read_all


@pytest.mark.parametrize(
    "names",
    [
        CLASSES,
        ("Meningioma", "GLIOMA", "Pituitary"),
        ("meningioma_tumor", "glioma_tumor", "pituitary_tumor"),
        ("Meningioma Tumor", "glioma-tumour", "pituitary tumors"),
        ("1", "2", "3"),
        ("Training/meningioma", "Testing/glioma", "Testing/pituitary"),
        ("1/meningioma", "1/glioma", "2/pituitary"),
        ("meningioma/1", "glioma/1", "pituitary/patient 7"),
    ],
)
def test_class_folders_may_be_named_in_many_ways(tmp_path, names):
    tiny = forms.make_slices(6)
    raws = read_all(forms.write_classes(tmp_path, tiny, names))
    assert [raw.label for raw in raws] == [slice_.label for slice_ in tiny]
    assert [raw.id for raw in raws] == ["1", "2", "3", "4", "5", "6"]
    assert all(raw.known() - {"side"} == {"label"} for raw in raws)


def test_class_folders_are_upright(tmp_path):
    tiny = forms.make_slices(3)
    raws = read_all(forms.write_classes(tmp_path, tiny))
    np.testing.assert_array_equal(raws[0].image, tiny[0].image)
    assert (tiny[0].image != tiny[0].image.T).any()


def test_equal_file_names_make_ids_of_paths(tmp_path):
    tiny = forms.make_slices(3)
    forms.write_classes(tmp_path / "Training", tiny)
    forms.write_classes(tmp_path / "Testing", tiny, suffix=".jpg")
    ids = [raw.id for raw in read_all(tmp_path)]
    assert ids == sorted(ids)
    assert ids[0] == "Testing/glioma/2.jpg"
    assert len(set(ids)) == 6


def test_files_that_people_keep_beside_images_are_passed_over(tmp_path):
    forms.write_classes(tmp_path, forms.make_slices(3))
    for name in ("glioma/Thumbs.db", "glioma/.DS_Store", "glioma/notes.txt", "README.md"):
        (tmp_path / name).write_bytes(b"text")
    assert len(read_all(tmp_path)) == 3


def test_an_image_outside_any_class_folder_is_refused(tmp_path):
    forms.write_classes(tmp_path, forms.make_slices(3))
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    assert_refused(tmp_path, "expected only class folders")


@pytest.mark.parametrize("name", ["pituitary", "3", "deep/glioma_tumor", "astrocytoma", "Testing/normal"])
def test_an_empty_class_folder_is_refused(tmp_path, name):
    forms.write_classes(tmp_path, forms.make_slices(2))
    (tmp_path / name).mkdir(parents=True)
    assert_refused(tmp_path, name, "no images")


def test_a_folder_of_other_files_is_no_class_folder_and_one_of_notes_is_passed_over(tmp_path):
    forms.write_classes(tmp_path, forms.make_slices(3))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.md").write_text("text")
    assert find_source(tmp_path).classes == CLASSES
    (tmp_path / "astrocytoma").mkdir()
    (tmp_path / "astrocytoma" / "x.bin").write_bytes(b"")
    assert_refused(tmp_path, "astrocytoma", "no images")


def test_what_macos_leaves_is_no_class_folder(tmp_path):
    forms.write_classes(tmp_path / "Training", forms.make_slices(3))
    for name in ("__MACOSX/Training/glioma", ".Trash-1000/files/astrocytoma"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "._x.png").write_bytes(b"")
    assert len(read_all(tmp_path)) == 3


@pytest.mark.parametrize(
    "name",
    ["glioma/meningioma", "1/2", "glioma_meningioma", "glioma-notumor", "normal/glioma", "astrocytoma/1", "a/normal"],
)
def test_a_path_that_names_two_classes_is_refused(tmp_path, name):
    forms.write_classes(tmp_path, forms.make_slices(3), (name, "glioma", "pituitary"))
    assert_refused(tmp_path, name, "two classes")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("notumor", "glioma", "Meningioma"), ("meningioma", "glioma", "no_tumor")),
        (
            ("Oligodendroglioma", "astrocytoma grade-2", "normal"),
            ("astrocytoma_grade_2", "no_tumor", "oligodendroglioma"),
        ),
        (("yes", "no", "yes"), ("no_tumor", "yes")),
        (("pituitary", "glioma", "pituitary"), ("glioma", "pituitary")),
        (("1", "3", "3"), CLASSES),
        (("1", "2", "healthy"), ("meningioma", "glioma", "no_tumor")),
        (("train/a", "test/b", "Validation set/b"), ("a", "b")),
        (("whole/part 1/a", "whole/part 2/a", "whole/part 2/b"), ("a", "b")),
        (("set/a", "set/b", "set/b"), ("a", "b")),
        (("one/a", "one/glioma", "two/glioma"), ("glioma", "a")),
        (("images/1", "images/2", "images/2"), CLASSES),
        (("a/p1", "a/p2", "b/p3"), ("a", "b")),
        (("A\u0308/x", "b", "b"), ("b", "\u00e4")),
    ],
)
def test_the_classes_are_those_of_the_folders_below_the_structure(tmp_path, names, classes):
    source = find_source(forms.write_classes(tmp_path, forms.make_slices(6), names))
    assert source.classes == classes
    assert source.known - {"side"} == {"label"}
    labels = [raw.label for raw in source.read()]
    assert len({(labels[row], names[row % 3]) for row in range(6)}) == len(set(names))
    assert set(labels) <= set(range(len(classes)))


def test_every_slice_has_the_class_of_its_folder(tmp_path):
    names = ("glioma_tumor", "healthy", "astrocytoma")
    source = find_source(forms.write_classes(tmp_path, forms.make_slices(9), names))
    spelled = {"glioma_tumor": "glioma", "healthy": "no_tumor", "astrocytoma": "astrocytoma"}
    for raw in source.read():
        assert source.classes[raw.label] == spelled[raw.where.split("/")[-2]]
    assert source.description == "class folders of images (9 slices: 3 glioma, 3 astrocytoma, 3 no_tumor)"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("glioma", "glioma_tumor", "pituitary"), ("glioma and glioma_tumor", "both mean glioma")),
        (("1", "Meningioma", "pituitary"), ("1 and Meningioma", "both mean meningioma")),
        (("train/a b", "train/A_B", "train/c"), ("A_B and a b", "both mean a_b")),
        (("notumor", "normal", "a"), ("normal and notumor", "both mean no_tumor")),
    ],
)
def test_two_folders_side_by_side_for_one_class_are_refused(tmp_path, names, words):
    assert_refused(forms.write_classes(tmp_path, forms.make_slices(3), names), *words)


def test_one_class_may_have_a_folder_on_each_side_of_the_sets_own_division(tmp_path):
    tiny = forms.make_slices(9)
    forms.write_classes(tmp_path / "Training", tiny[:6])
    forms.write_classes(tmp_path / "Testing", tiny[6:], ("meningioma_tumor", "glioma_tumor", "pituitary_tumor"))
    source = find_source(tmp_path)
    assert [raw.label for raw in source.read()] == [slice_.label for slice_ in tiny]
    assert "6 in Training" in source.description
    assert "3 in Testing" in source.description
    assert [raw.side for raw in source.read()] == ["train"] * 6 + ["test"] * 3


@pytest.mark.parametrize("names", [("glioma",) * 3, ("1",) * 3, ("Training/a", "Testing/a", "Testing/a"), ("x",) * 3])
def test_one_class_alone_is_refused(tmp_path, names):
    assert_refused(forms.write_classes(tmp_path, forms.make_slices(3), names), "alone", "at least two classes")


@pytest.mark.parametrize("names", [("0", "1", "1"), ("1", "2", "4"), ("a", "17", "b")])
def test_a_number_that_is_no_label_of_figshares_is_refused(tmp_path, names):
    assert_refused(forms.write_classes(tmp_path, forms.make_slices(3), names), "names no class", "1, 2, 3")


@pytest.mark.parametrize(
    "names",
    [
        ("images/a", "images/b", "masks/a"),
        ("glioma", "glioma/masks", "pituitary"),
        ("a", "b", "labels"),
        ("images", "images", "tumor_segmentation"),
    ],
)
def test_a_folder_that_looks_like_masks_is_refused(tmp_path, names):
    assert_refused(
        forms.write_classes(tmp_path, forms.make_slices(3), names), "looks like a folder of masks", "manifest"
    )


def test_a_file_that_looks_like_a_slices_mask_is_refused(tmp_path):
    forms.write_classes(tmp_path, forms.make_slices(3))
    Image.new("L", (4, 4)).save(tmp_path / "glioma" / "2_mask.tif")
    assert_refused(tmp_path, "2_mask.tif", "mask of 2")


def test_a_name_with_a_word_of_masks_is_no_mask_without_its_slice(tmp_path):
    forms.write_classes(tmp_path / "brain segmentation", forms.make_slices(3))
    Image.linear_gradient("L").save(tmp_path / "brain segmentation" / "glioma" / "other_mask.tif")
    assert len(read_all(tmp_path)) == 4


def test_without_labels_every_image_of_a_tree_is_a_slice(tmp_path):
    tiny = forms.make_slices(3)
    forms.write_classes(tmp_path, tiny, ("", "ward 7", "ward 7/normal"))
    source = find_source(tmp_path, labelled=False)
    raws = list(source.read())
    assert [raw.id for raw in raws] == ["1", "2", "3"]
    assert source.known == frozenset() and {raw.label for raw in raws} == {None}


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    folder = forms.write_classes(tmp_path / "data", forms.make_slices(3))
    (folder / "glioma" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match=r"gone\.png: cannot be read"):
        load(folder, 8, tmp_path / "cache")


def test_a_file_name_that_is_not_utf8_is_named(tmp_path):
    folder = forms.write_classes(tmp_path, forms.make_slices(3))
    os.rename(folder / "glioma" / "2.png", os.fsencode(folder / "glioma") + b"/T\xe9te.png")
    assert_refused(folder, "T\\udce9te", "UTF-8")


def test_a_renamed_class_folder_is_not_read_from_the_old_copy(tmp_path):
    names = ("glioma", "no_tumor", "no_tumor")
    folder = forms.write_classes(tmp_path / "data", forms.make_slices(6), names)
    before = load(folder, 8, tmp_path / "cache")
    (folder / "glioma").rename(folder / "astrocytoma")
    after = load(folder, 8, tmp_path / "cache")
    assert (before.classes, after.classes) == (("glioma", "no_tumor"), ("astrocytoma", "no_tumor"))
    np.testing.assert_array_equal(before.images, after.images)


FOUR_CLASSES = pathlib.Path(
    os.environ.get("BTJAX_FOUR_CLASSES", pathlib.Path(__file__).parents[3] / "shared" / "data" / "four_class")
)


@pytest.mark.real
@pytest.mark.skipif(not FOUR_CLASSES.is_dir(), reason="no four-class set: $BTJAX_FOUR_CLASSES names no folder")
def test_the_four_class_set_has_its_classes_and_counts(tmp_path):
    slices = load(FOUR_CLASSES, 64, tmp_path)
    counts = np.bincount(slices.labels).tolist()
    assert dict(zip(slices.classes, counts, strict=True)) == {
        "meningioma": 822,
        "glioma": 826,
        "pituitary": 827,
        "no_tumor": 395,
    }
    assert slices.patients is None and slices.masks is None


@pytest.mark.parametrize("name", ["x.png", "x.dcm", "x"])
def test_a_file_in_a_class_folder_that_is_no_image_is_named(tmp_path, name):
    forms.write_classes(tmp_path, forms.make_slices(3))
    (tmp_path / "glioma" / name).write_bytes(b"no image")
    assert_refused(tmp_path, f"glioma/{name}", "expected an image")


def test_a_truncated_image_is_named(tmp_path):
    forms.write_classes(tmp_path, forms.make_slices(3))
    path = tmp_path / "glioma" / "2.png"
    path.write_bytes(path.read_bytes()[:200])
    assert_refused(tmp_path, "2.png", "expected an image")
