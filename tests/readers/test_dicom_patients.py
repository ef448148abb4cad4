"""Patients of DICOM files: pseudonyms, ids that name nobody, and names that are shown nowhere."""

import pytest

pytest.importorskip("pydicom", reason="needs pydicom, of the extra `medical`")

from btjax.base.errors import InputError
from btjax.data.builder import load
from btjax.data.sources import find_source
from tests.readers.medical_forms import head, write_series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


def read(folder):
    return list(find_source(folder, labelled=False).read())


def refusal(folder, labelled=False) -> str:
    with pytest.raises(InputError) as caught:
        list(find_source(folder, labelled=labelled).read())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_name_and_no_id_of_a_patient_leaves_the_reader(tmp_path, capsys):
    for patient, name in (("MR040240", "Doe^Jane"), ("7", "Roe^Jo")):
        folder = tmp_path / "glioma" / f"{name.split('^')[0].upper()}_{patient}" / patient / "t1"
        write_series(folder, [head((8, 8))], patient, f"1.2.{patient}", PatientName=name)
    source = find_source(tmp_path, labelled=False)
    raws = list(source.read())
    slices = load(source, 32)
    told = repr((source.description, source.notes, [raw.id for raw in raws], slices.ids.tolist(), slices.patients))
    for secret in ("040240", "doe", "jane", "roe"):
        assert secret not in told.lower()
    assert all(raw.id.startswith("glioma/") and raw.id.endswith("/t1/0001") for raw in raws)
    assert len({raw.patient for raw in raws}) == 2


def test_notes_on_ignored_files_show_no_name_of_a_patient(tmp_path):
    write_series(tmp_path / "glioma" / "DOE_JANE" / "t1", [head((8, 8))], "MR040240", "1.2")
    scout = {"PatientName": "Roe^Jo", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(tmp_path / "glioma" / "ROE", [head((8, 8))], "MR7", "1.3", **scout)
    for name in ("DOE_JANE/.DS_Store", "DOE_JANE/report.txt", "ROE/Thumbs.db", "MR040240.zzz"):
        (tmp_path / "glioma" / name).write_bytes(b"x" * 200)
    source = find_source(tmp_path, labelled=False)
    told = " ".join(source.notes)
    for reason in ("1 hidden (", "1 note (", "1 left by other programs (", "1 file of other kinds ("):
        assert reason in told
    for secret in ("doe", "jane", "roe", "040240"):
        assert secret not in told.lower()
    place = next(source.read()).id.removesuffix("/t1/0001")
    assert f"1 hidden ({place}/.DS_Store)" in told


def test_folders_called_after_patients_are_not_named_in_a_refusal(tmp_path):
    for number, name in enumerate(("Doe", "Roe")):
        write_series(tmp_path / name.upper(), [head((8, 8))], f"MR{number}", f"1.{number}", PatientName=f"{name}^Jo")
    message = refusal(tmp_path, labelled=True)
    assert "2 folders (" in message and "doe" not in message.lower() and "roe" not in message.lower()


def test_pseudonyms_follow_the_salt_and_the_study_stands_in_for_a_missing_id(tmp_path, monkeypatch):
    write_series(tmp_path, [head((8, 8))])
    first = read(tmp_path)[0].patient
    assert read(tmp_path)[0].patient == first
    monkeypatch.setenv("BTJAX_SALT", "another secret, long enough")
    second = read(tmp_path)[0].patient
    assert second != first
    monkeypatch.setenv("BTJAX_SALT", "short")
    assert "$BTJAX_SALT" in refusal(tmp_path)
    monkeypatch.setenv("BTJAX_SALT", "another secret, long enough")
    write_series(tmp_path / "x", [head((8, 8))], "", "1.7", StudyInstanceUID="1.77")
    write_series(tmp_path / "y", [head((8, 8))], "", "1.8", StudyInstanceUID="1.88")
    assert len({raw.patient for raw in read(tmp_path)}) == 3


@pytest.mark.parametrize("word", ["ANONYMOUS", "Anonymized", "0", "0000", "?", " "])
def test_an_id_that_names_nobody_does_not_make_one_patient_of_many(tmp_path, word):
    for number in "12":
        write_series(tmp_path / number, [head((8, 8))], word, f"1.{number}", StudyInstanceUID=f"1.9.{number}")
    write_series(tmp_path / "known", [head((8, 8))], "MR1", "1.3")
    source = find_source(tmp_path, labelled=False)
    assert len({raw.patient for raw in source.read()}) == 3
    assert source.notes == ("2 DICOM slices have no PatientID: each study counts as a patient",)
    write_series(tmp_path / "3", [head((8, 8))], word, "1.4", StudyInstanceUID=None)
    source = find_source(tmp_path, labelled=False)
    assert source.known == {"plane"} and load(source, 32).patients is None
    assert "1 DICOM slices have neither PatientID nor a study: patients are not known" in source.notes
    assert source.description == "DICOM files (4 slices of unknown patients: no labels)"


def test_folders_of_unknown_patients_are_no_classes_of_the_users_own(tmp_path):
    for number, name in enumerate(("first", "second")):
        write_series(tmp_path / name, [head((8, 8))], "", f"1.{number}", StudyInstanceUID=None)
    assert "2 folders (first, second) of patients that are not known" in refusal(tmp_path, labelled=True)
