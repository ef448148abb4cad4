"""Class folders, viridis, and images with a manifest."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image

from btjax.data import folders
from btjax.data.slices import CLASSES
from btjax.data.sources import find_source
from tests.data import forms
from tests.data.forms import assemble, assert_refused, read_all

grey_images = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def viridis(grey):
    """uint8 [H, W] -> uint8 [H, W, 3]."""
    return matplotlib.colormaps["viridis"](grey, bytes=True)[..., :3]


@given(grey_images)
def test_viridis_is_undone_to_the_same_colours(grey):
    found = folders.undo_viridis(viridis(grey))
    np.testing.assert_array_equal(viridis(found), viridis(grey))
    assert np.abs(found.astype(int) - grey).max() <= 1


def test_every_single_colour_of_viridis_is_told_from_grey():
    """One of them has as much red as green."""
    for grey in range(256):
        assert folders.undo_viridis(viridis(np.full((2, 2), grey, np.uint8))) is not None, grey


def test_viridis_is_undone_exactly_but_for_the_two_shared_colours():
    ramp = np.arange(256, dtype=np.uint8)[None]
    wrong = np.nonzero(folders.undo_viridis(viridis(ramp)) != ramp)[1]
    assert wrong.tolist() == [105, 138]


def test_a_lossy_viridis_image_is_undone_to_the_nearest_grey(tmp_path):
    ramp = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8) + np.uint8(30)
    Image.fromarray(viridis(ramp)).save(tmp_path / "x.jpg", quality=92)
    found = folders.read_image(tmp_path / "x.jpg")
    assert np.median(np.abs(found.astype(int) - ramp)) <= 3


@given(grey_images)
def test_grey_pixels_kept_as_colour_are_never_taken_for_viridis(grey):
    assert folders.undo_viridis(np.stack([grey] * 3, axis=-1)) is None


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_grey_files_of_every_mode_give_the_same_pixels(tmp_path, mode):
    grey = forms.make_slices(1)[0].image
    Image.fromarray(grey).convert(mode).save(tmp_path / "x.png")
    np.testing.assert_array_equal(folders.read_image(tmp_path / "x.png"), grey)


def test_viridis_with_transparency_is_undone(tmp_path):
    grey = np.array([[0, 200], [255, 30]], np.uint8)
    Image.fromarray(matplotlib.colormaps["viridis"](grey, bytes=True)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(folders.read_image(tmp_path / "x.png"), grey)


def test_deep_images_keep_their_depth(tmp_path):
    deep = np.array([[0, 300], [65535, 256]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    np.testing.assert_array_equal(folders.read_image(tmp_path / "x.png"), deep)


def test_other_colours_become_luma(tmp_path):
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[..., 0] = 255
    Image.fromarray(colours).save(tmp_path / "x.png")
    assert np.unique(folders.read_image(tmp_path / "x.png")).tolist() == [76]


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
    assert all(raw.known() == frozenset() for raw in raws)


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


def test_a_folder_of_another_class_is_refused(tmp_path):
    forms.write_classes(tmp_path, forms.make_slices(3))
    (tmp_path / "notumor").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "notumor" / "x.png")
    assert_refused(tmp_path, "notumor", "glioma_tumor", "1, 2, 3")


def test_an_image_outside_any_class_folder_is_refused(tmp_path):
    forms.write_classes(tmp_path, forms.make_slices(3))
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    assert_refused(tmp_path, "expected only class folders")


@pytest.mark.parametrize("name", ["pituitary", "deep/3"])
def test_an_empty_class_folder_is_refused(tmp_path, name):
    forms.write_classes(tmp_path, forms.make_slices(2))
    (tmp_path / name).mkdir(parents=True)
    assert_refused(tmp_path, name, "no images")


@pytest.mark.parametrize("name", ["glioma/meningioma", "1/2"])
def test_a_path_that_names_two_classes_is_refused(tmp_path, name):
    forms.write_classes(tmp_path, forms.make_slices(3), (name, "glioma", "pituitary"))
    assert_refused(tmp_path, name, "two classes")


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


def test_a_manifest_brings_every_field(tmp_path):
    tiny = forms.make_slices(7)
    for raw, slice_ in zip(read_all(forms.write_manifest(tmp_path, tiny)), tiny, strict=True):
        np.testing.assert_array_equal(raw.image, slice_.image)
        np.testing.assert_array_equal(raw.mask, slice_.mask)
        found = (raw.id, raw.label, raw.patient, raw.fold, raw.plane)
        assert found == (str(slice_.number), slice_.label, slice_.patient, slice_.fold, slice_.plane)


def test_masks_and_columns_beyond_id_and_label_are_optional(tmp_path):
    forms.write_manifest(tmp_path, forms.make_slices(3), masks=False, columns=("id", "label"))
    slices = assemble(read_all(tmp_path), 16)
    assert set(slices.fields()) == {"images", "labels", "ids", "sizes"}


def test_patients_are_text_even_if_they_look_like_numbers(tmp_path):
    forms.write_manifest(tmp_path, forms.make_slices(1))
    text = (tmp_path / "manifest.csv").read_text().replace("100360", "007e5")
    (tmp_path / "manifest.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert read_all(tmp_path)[0].patient == "007e5"


def test_a_manifest_may_list_fewer_slices_than_there_are_images(tmp_path):
    tiny = forms.make_slices(5)
    forms.write_manifest(tmp_path, tiny)
    forms.write_manifest(tmp_path, tiny[1:3])
    assert [raw.id for raw in read_all(tmp_path)] == ["2", "3"]


def test_folders_that_are_links_are_followed(tmp_path):
    forms.write_manifest(tmp_path / "real", forms.make_slices(2))
    (tmp_path / "subset").mkdir()
    for name in ("images", "masks", "manifest.csv"):
        (tmp_path / "subset" / name).symlink_to(tmp_path / "real" / name)
    (tmp_path / "subset" / "loop").symlink_to(tmp_path / "subset")
    assert len(read_all(tmp_path / "subset")) == 2


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
def test_masks_of_ones_and_of_255_are_the_same(tmp_path, values):
    Image.fromarray(np.array([[values[0], values[1]]], np.uint8)).save(tmp_path / "m.png")
    assert folders.read_mask(tmp_path / "m.png").tolist() == [[False, True]]
    Image.fromarray(np.zeros((1, 2), np.uint8)).save(tmp_path / "m.png")
    assert folders.read_mask(tmp_path / "m.png").tolist() == [[False, False]]


@pytest.mark.parametrize("name", ["images/2.png", "masks/2.png"])
def test_a_row_whose_file_is_missing_is_named(tmp_path, name):
    forms.write_manifest(tmp_path, forms.make_slices(3))
    (tmp_path / name).unlink()
    assert_refused(tmp_path, "manifest.csv", "'2'", name.split("/")[0])


def test_a_row_with_two_files_is_refused(tmp_path):
    forms.write_manifest(tmp_path, forms.make_slices(3))
    Image.new("L", (32, 32)).save(tmp_path / "images" / "2.jpg")
    assert_refused(tmp_path, "'2'", "2.jpg, 2.png")


def test_a_mask_of_another_size_is_named(tmp_path):
    forms.write_manifest(tmp_path, forms.make_slices(3))
    Image.new("1", (5, 5)).save(tmp_path / "masks" / "2.png")
    assert_refused(tmp_path, "masks/2.png", "(5, 5)", "(32, 32)")


def edit_row_two(folder, column, value):
    """Writes `value` into a column of the manifest's second slice."""
    lines = (folder / "manifest.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[lines[0].split(",").index(column)] = value
    lines[2] = ",".join(cells)
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        ("id", "1", "slice 1 is there twice"),
        ("id", "../2", "'../2'"),
        ("label", "0", "label 0"),
        ("label", "", "label"),
        ("label", "glioma", "label glioma"),
        ("author_fold", "0", "author_fold '0'"),
        ("author_fold", "x", "author_fold 'x'"),
        ("author_fold", "", "no fold"),
        ("pid", "", "no patient"),
        ("plane_derived", "top", "plane_derived 'top'"),
    ],
)
def test_a_bad_cell_is_refused(tmp_path, column, value, word):
    edit_row_two(forms.write_manifest(tmp_path, forms.make_slices(3)), column, value)
    assert_refused(tmp_path, word)


@pytest.mark.parametrize("columns", [("id", "pid"), ("label", "pid")])
def test_a_missing_column_is_named(tmp_path, columns):
    forms.write_manifest(tmp_path, forms.make_slices(3), columns=columns)
    assert_refused(tmp_path, "manifest.csv", "missing", ({"id", "label"} - set(columns)).pop())


@pytest.mark.parametrize("data", [b"", b"id,label\n", b"\xff\xfe\x00"])
def test_a_manifest_without_rows_or_text_is_refused(tmp_path, data):
    forms.write_manifest(tmp_path, forms.make_slices(3))
    (tmp_path / "manifest.csv").write_bytes(data)
    assert_refused(tmp_path, "manifest.csv")


def test_a_manifest_without_images_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_text("id,label\n1,1\n")
    assert_refused(tmp_path, "images", "no such folder")


@pytest.mark.real
def test_a_hundred_real_slices_and_the_whole_manifest(real_slices_dir, tmp_path):
    source = find_source(real_slices_dir)
    assert len(source) == 3064
    rows = (real_slices_dir / "manifest.csv").read_text().splitlines()
    half = [row for row in rows[1:] if ",256,256," in row]
    others = rows[1::36]
    chosen = sorted(set(half + others), key=lambda row: int(row.partition(",")[0]))
    for name in ("images", "masks"):
        (tmp_path / name).symlink_to(real_slices_dir / name)
    (tmp_path / "manifest.csv").write_text("\n".join([rows[0], *chosen]) + "\n")
    slices = assemble(find_source(tmp_path).read(), 128)
    assert len(slices) == len(chosen) >= 100
    assert sorted(set(slices.patients[slices.sizes[:, 0] == 256])) == ["108931"]
    assert (slices.sizes == 256).all(axis=1).sum() == 15
    assert slices.masks.any(axis=(1, 2)).all()
    assert set(slices.labels) == {0, 1, 2}
    assert slices.images.max(axis=(1, 2)).min() > 128
