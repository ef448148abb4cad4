"""Images with a manifest."""

import numpy as np
import pytest
from PIL import Image

from btjax.base.errors import InputError
from btjax.data.sources import find_source
from tests.readers import forms
from tests.readers.forms import assemble, assert_refused, read_all


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


@pytest.mark.parametrize("name", ["images/2.png", "masks/2.png"])
def test_a_row_whose_file_is_missing_is_named(tmp_path, name):
    forms.write_manifest(tmp_path, forms.make_slices(3))
    (tmp_path / name).unlink()
    assert_refused(tmp_path, "manifest.csv", "'2'", name.split("/")[0])


def test_composed_and_decomposed_letters_are_the_same_name(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(2))
    for name in ("images", "masks"):
        (folder / name / "2.png").rename(folder / name / "A\u0308.png")
    edit_row_two(folder, "id", "\u00c4")
    assert sorted(raw.id for raw in read_all(folder)) == ["1", "\u00c4"]


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
        ("id", "1", "has the id 1 more than once"),
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


def relabel(folder, column, values):
    """Writes values into a column of the manifest, one for each slice, and returns the folder."""
    lines = [line.split(",") for line in (folder / "manifest.csv").read_text().splitlines()]
    at = lines[0].index(column)
    for cells, value in zip(lines[1:], values, strict=True):
        cells[at] = value
    (folder / "manifest.csv").write_text("\n".join(",".join(cells) for cells in lines) + "\n")
    return folder


def test_labels_may_be_names(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(4))
    source = find_source(relabel(folder, "label", ["Glioma Tumor", "no tumour", "Astrocytoma", "glioma"]))
    assert source.classes == ("glioma", "astrocytoma", "no_tumor")
    assert [raw.label for raw in source.read()] == [0, 2, 1, 0]


def test_numbers_stand_for_the_papers_three_classes_even_where_one_is_absent(tmp_path):
    source = find_source(relabel(forms.write_manifest(tmp_path, forms.make_slices(2)), "label", ["1", "3.0"]))
    assert source.classes == ("meningioma", "glioma", "pituitary")
    assert [raw.label for raw in source.read()] == [0, 2]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("glioma", "2", "1"), ("label glioma",)),
        (("glioma", "", "other"), ("names no class", "row 2")),
        (("glioma", "glioma", "Glioma"), ("glioma alone", "at least two")),
        (("-1", "2", "1"), ("label -1",)),
        (("0", "1", "0"), ("label 0",)),
        (("a", "1e0", "b"), ("label a",)),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, words):
    folder = forms.write_manifest(tmp_path, forms.make_slices(3))
    assert_refused(relabel(folder, "label", labels), "manifest.csv", *words)


def test_a_label_that_contradicts_the_column_class_is_refused(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(3), columns=("id", "label", "class"))
    assert len(read_all(relabel(folder, "class", ["meningioma", "Glioma_tumor", "grade 2"]))) == 3
    assert_refused(relabel(folder, "class", ["meningioma", "meningioma", ""]), "row 2", "glioma", "meningioma")


def test_a_manifest_without_labels_can_be_read_where_that_is_asked_for(tmp_path):
    forms.write_manifest(tmp_path, forms.make_slices(3), columns=("id", "pid"))
    with pytest.raises(InputError, match="missing label"):
        find_source(tmp_path)
    source = find_source(tmp_path, labelled=False)
    slices = assemble(source.read(), 8)
    assert source.known == {"patient", "mask"}
    assert slices.labels is None and slices.patients is not None
    assert source.description == "images with manifest.csv (3 slices, masks, patients)"


def test_labels_that_are_there_are_read_where_they_need_not_be(tmp_path):
    source = find_source(forms.write_manifest(tmp_path, forms.make_slices(3)), labelled=False)
    assert [raw.label for raw in source.read()] == [0, 1, 2]


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


@pytest.mark.parametrize("word", ["nan", "None", "NULL", "unknown", "?", "n/a", "0", "-1", "0.0"])
def test_a_word_for_not_known_is_no_patient(tmp_path, word):
    folder = forms.write_manifest(tmp_path, forms.make_slices(6), columns=("id", "label", "pid"))
    table = folder / "manifest.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join([*row[:2], row[2] if index < 4 else word]) for index, row in enumerate(rows)))
    assert_refused(folder, f"pid '{word}', which 3 slices have, names no patient")


def test_a_patient_may_be_numbered_zero(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(6), columns=("id", "label", "pid"))
    table = folder / "manifest.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join([",".join(rows[0]), *(f"{row[0]},{row[1]},{int(row[1]) - 1}" for row in rows[1:])]))
    assert {raw.patient for raw in find_source(folder).read()} == {"0", "1", "2"}


def test_names_of_the_users_own_that_contradict_the_labels_are_refused(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(3), columns=("id", "label", "class"))
    names = ["astrocytoma", "ependymoma", "oligodendroglioma"]
    assert_refused(relabel(folder, "class", names), "row 1", "label 1 means meningioma, but its class says astrocytoma")
    relabel(folder, "label", names)
    assert len(read_all(folder)) == 3
    assert_refused(relabel(folder, "class", [*names[:2], names[1]]), "row 3", "means oligodendroglioma", "ependymoma")
    assert len(read_all(relabel(folder, "class", ["WHO 2", "WHO 2", "WHO 3"]))) == 3


def test_numbers_of_patients_that_a_spreadsheet_wrote_with_a_point_are_the_same_patients(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(3))
    assert [raw.patient for raw in read_all(relabel(folder, "pid", ["7", "7.0", "8.00"]))] == ["7", "7", "8"]
    assert [raw.patient for raw in read_all(relabel(folder, "pid", ["7", "7.0", "8a"]))] == ["7", "7.0", "8a"]


def test_a_column_of_another_name_that_names_another_class_is_refused(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(3), columns=("id", "label"))
    table = folder / "manifest.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},diagnosis", *(f"{row},pituitary" for row in rows)]))
    assert_refused(folder, "label 1 means meningioma, but its diagnosis says pituitary")


def test_the_column_split_is_the_data_sets_own_division(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(3), columns=("id", "label"))
    table = folder / "manifest.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text(
        "\n".join([f"{header},split", *map(",".join, zip(rows, ("Train", "val", "testing"), strict=True))])
    )
    assert [raw.side for raw in find_source(folder).read()] == ["train", "validation", "test"]
    table.write_text("\n".join([f"{header},split", *(f"{row},left" for row in rows)]))
    with pytest.raises(InputError, match="found split 'left', expected train, validation or test"):
        list(find_source(folder).read())


def test_a_slice_without_a_tumour_needs_no_mask(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(3), columns=("id", "label"))
    table = folder / "manifest.csv"
    table.write_text("id,label\n1,meningioma\n2,glioma\n3,no tumor\n")
    (folder / "masks" / "3.png").unlink()
    raws = list(find_source(folder).read())
    assert [bool(raw.mask.any()) for raw in raws] == [True, True, False]
    assert raws[2].mask.shape == raws[2].image.shape


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label,label\n1,1,2\n2,2,1\n", "has the column label more than once"),
        ("id,label,pid,PID\n1,1,a,b\n2,2,a,b\n", "has the column pid more than once"),
        ("id,label,pid\n1,1,a,b\n2,2,a\n", "found more cells than columns (3)"),
        ('id,label,note\n1,1,"5 mm\n2,2,x\n', "cannot be read as CSV"),
        ("id,label\nSch\u00e4del,1\nScha\u0308del,2\n", "more than once"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused(tmp_path, text, words):
    folder = forms.write_manifest(tmp_path, forms.make_slices(2))
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    assert_refused(folder, words)


def test_columns_may_have_other_names_and_letters(tmp_path):
    folder = forms.write_manifest(tmp_path, forms.make_slices(2))
    (folder / "manifest.csv").write_text("ID,Label,Patient_ID,Split\n1,1,a,train\n2,2,b,test\n")
    raws = list(find_source(folder).read())
    assert [(raw.patient, raw.side) for raw in raws] == [("a", "train"), ("b", "test")]
