"""Labels, forms and refusals of folders of DICOM files and NIfTI volumes."""

import importlib.util
import subprocess
import sys

import pytest
from PIL import Image

from btjax.base.errors import InputError
from btjax.data.builder import load
from btjax.data.dataset import DataConfig, load_data
from btjax.data.sources import find_source
from btjax.readers.medical import MedicalOptions

needs_extra = pytest.mark.skipif(
    not (importlib.util.find_spec("pydicom") and importlib.util.find_spec("nibabel")),
    reason="needs pydicom and nibabel, of the extra `medical`",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def forms():
    from tests.readers import medical_forms

    return medical_forms


def refusal(folder, labelled=True) -> str:
    with pytest.raises(InputError) as caught:
        list(find_source(folder, labelled=labelled).read())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_patients(forms, folder, names, slices=2):
    """One series of each patient, by the folder that it goes to."""
    for number, (name, patient) in enumerate(names):
        images = [forms.head((8, 8), 10 * number + row) for row in range(slices)]
        forms.write_series(folder / name, images, patient, f"1.2.{number}")


@needs_extra
def test_class_folders_of_dicom_files_have_labels_and_patients(tmp_path, forms):
    write_patients(
        forms, tmp_path, [("Training/glioma/a/s1", "1"), ("Training/no_tumor/b", "2"), ("Testing/glioma/c", "3")]
    )
    source = find_source(tmp_path)
    assert source.description == "DICOM files (6 slices of 3 patients: 4 glioma, 2 no_tumor)"
    assert source.classes == ("glioma", "no_tumor")
    slices = load(source, 32)
    assert [slices.classes[label] for label in slices.labels] == ["glioma"] * 4 + ["no_tumor"] * 2
    assert len(set(slices.patients)) == 3
    assert slices.sides.tolist() == ["test", "test", "train", "train", "train", "train"]
    assert find_source(tmp_path, labelled=False).known == {"patient", "plane"}


@needs_extra
def test_class_folders_of_volumes_load_by_the_options_of_a_run(tmp_path, forms):
    for name in ("glioma/x", "pituitary/y"):
        forms.write_nifti(tmp_path / f"{name}.nii.gz", forms.head((8, 9, 3)))
    data = load_data(DataConfig(data_dir=str(tmp_path), image_size=32, plane="sagittal"))
    assert data.form == "NIfTI volumes (16 slices of 2 patients, cut sagittal: 8 glioma, 8 pituitary)"
    assert data.slices.labels.tolist() == [0] * 8 + [1] * 8
    with pytest.raises(InputError, match="plane"):
        MedicalOptions(plane="oblique")


@needs_extra
def test_a_copy_prepared_under_one_secret_is_not_read_back_under_another(tmp_path, forms, monkeypatch):
    write_patients(forms, tmp_path / "data", [("glioma/a", "1"), ("no_tumor/b", "2")])
    found = []
    for secret in ("the first secret of a user", "the second secret of a user", "the first secret of a user"):
        monkeypatch.setenv("BTJAX_SALT", secret)
        found.append(set(load(tmp_path / "data", 32).patients))
    assert found[0] == found[2] and not found[0] & found[1]
    assert len(found[0]) == len(found[1]) == 2


@needs_extra
def test_secret_and_looks_are_kept_in_the_cache_that_is_named(tmp_path, forms, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path / "unused"))
    monkeypatch.delenv("BTJAX_SALT", raising=False)
    forms.write_nifti(tmp_path / "data" / "glioma" / "x.nii.gz", forms.head((8, 9, 3)))
    forms.write_nifti(tmp_path / "data" / "pituitary" / "y.nii.gz", forms.head((8, 9, 3)))
    first = load(tmp_path / "data", 32, tmp_path / "cache")
    config = DataConfig(data_dir=str(tmp_path / "data"), image_size=32)
    second = load_data(config, str(tmp_path / "cache")).slices
    cache = tmp_path / "cache"
    assert (cache / "patients.salt").exists() and len(list((cache / "volumes").iterdir())) == 2
    assert not (tmp_path / "unused").exists()
    assert first.patients.tolist() == second.patients.tolist()


@needs_extra
def test_classes_of_the_users_own_need_patients_of_their_own(tmp_path, forms):
    own = [("astrocytoma/a", "1"), ("astrocytoma/b", "2"), ("ependymoma/c", "3")]
    write_patients(forms, tmp_path / "classes", own)
    assert find_source(tmp_path / "classes").classes == ("astrocytoma", "ependymoma")
    write_patients(forms, tmp_path / "people", [("PA1", "1"), ("PA2", "2"), ("PA3", "3")])
    assert "labels are missing" in refusal(tmp_path / "people")
    write_patients(forms, tmp_path / "sequences", [("T1/a", "1"), ("T1/b", "2"), ("FLAIR/a", "1"), ("FLAIR/b", "2")])
    assert "share patients" in refusal(tmp_path / "sequences")


@needs_extra
def test_missing_labels_are_said_in_one_line(tmp_path, forms):
    write_patients(forms, tmp_path, [("", "1")])
    assert "labels are missing" in refusal(tmp_path)
    assert len(find_source(tmp_path, labelled=False)) == 2
    write_patients(forms, tmp_path, [("glioma", "2"), ("pituitary", "3")])
    assert "lies in no class folder" in refusal(tmp_path)


@needs_extra
def test_an_empty_class_folder_and_one_class_alone_are_refused(tmp_path, forms):
    write_patients(forms, tmp_path, [("glioma/p", "1")])
    assert "glioma alone" in refusal(tmp_path)
    write_patients(forms, tmp_path, [("glioma/p", "1"), ("no_tumor/q", "2")])
    (tmp_path / "pituitary").mkdir()
    assert "pituitary: this class folder holds no images" in refusal(tmp_path)


@needs_extra
def test_one_slice_in_two_classes_is_refused(tmp_path, forms):
    write_patients(forms, tmp_path, [("glioma/p", "1"), ("no_tumor/q", "2")])
    copied = next((tmp_path / "glioma" / "p").iterdir())
    (tmp_path / "no_tumor" / "copy.dcm").write_bytes(copied.read_bytes())
    assert "glioma and no_tumor, expected one class" in refusal(tmp_path)


@needs_extra
def test_several_forms_in_one_folder_are_refused_but_for_scans_without_labels(tmp_path, forms):
    write_patients(forms, tmp_path, [("glioma", "1"), ("no_tumor", "2")])
    forms.write_nifti(tmp_path / "glioma" / "x.nii", forms.head((8, 9, 3)))
    assert "x.nii: is one of 1 NIfTI files among 4 DICOM files" in refusal(tmp_path)
    source = find_source(tmp_path, labelled=False)
    assert len(source) == 7 and source.description.startswith("DICOM files and NIfTI volumes")
    (tmp_path / "glioma" / "x.nii").unlink()
    Image.new("L", (4, 4)).save(tmp_path / "screen.png")
    assert "screen.png: is one of 1 image files" in refusal(tmp_path, labelled=False)


@pytest.mark.parametrize(("name", "package"), [("a.dcm", "pydicom"), ("a.nii.gz", "nibabel")])
def test_without_the_extra_one_line_says_what_to_install(tmp_path, monkeypatch, name, package):
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None)
    message = refusal(tmp_path, labelled=False)
    assert package in message and "pip install btjax[medical]" in message


def test_nothing_of_the_extra_is_imported_where_it_is_not_needed(tmp_path):
    (tmp_path / "glioma").mkdir()
    (tmp_path / "no_tumor").mkdir()
    for name in ("glioma/1.png", "no_tumor/2.png"):
        Image.linear_gradient("L").save(tmp_path / name)
    program = (
        "import sys; import btjax; from btjax.data.sources import find_source; "
        f"list(find_source({str(tmp_path)!r}).read()); "
        "sys.exit(bool({'pydicom', 'nibabel', 'pylibjpeg', 'gdcm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_salt_is_made_once_and_only_its_owner_reads_it(tmp_path):
    from btjax.readers.pseudonyms import SALT_FILE, read_salt

    first = read_salt(tmp_path / "cache")
    assert read_salt(tmp_path / "cache") == first != read_salt(tmp_path / "other")
    path = tmp_path / "cache" / SALT_FILE
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("short")
    with pytest.raises(InputError, match=SALT_FILE):
        read_salt(tmp_path / "cache")
