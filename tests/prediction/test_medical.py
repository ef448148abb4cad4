"""DICOM files and NIfTI volumes: the same answers as from pictures, and nothing of a patient in any output."""

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pydicom", reason="needs pydicom, of the extra `medical`")
pytest.importorskip("nibabel", reason="needs nibabel, of the extra `medical`")

from pydicom import Dataset, uid

import btjax
from btjax.commands.predict import PredictOptions, predict_into
from btjax.data.phantom import make_phantom
from btjax.prediction.privacy import hide, private_words
from tests.readers.forms import TinySlice, mat_bytes
from tests.readers.medical_forms import dicom, write_dicom, write_nifti

SIZE = 32
ALWAYS = PredictOptions(abstain=False)
SECRETS = ("Zebedee", "ZX991177", "19610203", "20210304", "Quimby", "St. Elsewhere")
HEADER = {
    "PatientName": "Zebedee^Ann",
    "PatientID": "ZX991177",
    "PatientBirthDate": "19610203",
    "StudyDate": "20210304",
    "ReferringPhysicianName": "Quimby",
    "InstitutionName": "St. Elsewhere",
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = btjax.preset("cnn_demo").replace("data.phantom_patients", 8).replace("data.image_size", SIZE)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return btjax.train(config.replace("training.epochs", 1), tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def marked():
    """A head with a bright square at its upper left: turned or mirrored it is another picture."""
    image = make_phantom(1, 1, SIZE, seed=3).images[0].copy()
    image[4:9, 3:7] = 255
    image[0, 0] = 0
    return image


def palette(image):
    """A DICOM file whose colour table gives back the grey levels that its numbers hide."""
    table = (np.arange(256, dtype=np.uint16) * 257)[::-1].copy()
    fields = {}
    for name in ("Red", "Green", "Blue"):
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        fields[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    return dicom(255 - image, PhotometricInterpretation="PALETTE COLOR", **fields)


def write_forms(folder, image):
    """The slice in every form; JPEG is another picture by a grey level or two."""
    deep = image.astype(np.int16) * 9 + 40
    folder.mkdir()
    Image.fromarray(image).save(folder / "a.png")
    Image.fromarray(image).save(folder / "b.jpg", quality=100)
    Image.fromarray(image.astype(np.uint16) * 200).save(folder / "c.tiff")
    tiny = TinySlice(7, 0, "100360", image, image > 250, 1, "axial")
    (folder / "7.mat").write_bytes(mat_bytes(tiny))
    stored = image.astype(np.uint16) * 16
    twelve = {"BitsStored": 12, "HighBit": 11}
    write_dicom(folder / "rescale.dcm", deep, RescaleSlope="2", RescaleIntercept="-1000")
    write_dicom(folder / "twelve.dcm", stored, **twelve)
    inverted = (4080 - stored).astype(np.uint16)
    write_dicom(folder / "mono1.dcm", inverted, PhotometricInterpretation="MONOCHROME1", **twelve)
    palette(image).save_as(folder / "palette.dcm", enforce_file_format=True)
    packed = dicom(stored, **twelve)
    packed.compress(uid.RLELossless)
    packed.save_as(folder / "rle.dcm", enforce_file_format=True)
    # Stored from right to left and from the foot of the picture to its head; the header says so.
    flipped = {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}
    write_dicom(folder / "turned.dcm", np.ascontiguousarray(stored[::-1, ::-1]), **flipped, **twelve)
    # NIfTI counts from the patient's right to left under this affine, and from front to back downwards.
    volume = np.ascontiguousarray(np.stack([deep.T, deep.T], axis=2))
    write_nifti(folder / "volume.nii.gz", volume, np.diag([-1.0, -1.0, 5.0, 1.0]))


def test_every_form_of_a_marked_slice_gives_the_same_answer(run, marked, tmp_path):
    write_forms(tmp_path / "forms", marked)
    found = btjax.predict(run, tmp_path / "forms", ALWAYS)
    assert len(found) == 12
    assert not [answer.reason for answer in found if answer.reason]
    expected = run.probabilities(marked[None])
    (plain,) = [answer for answer in found if answer.file == "a.png"]
    for answer in found:
        assert answer.predicted == plain.predicted, answer.file
        for name, value in answer.probabilities.items():
            assert abs(value - plain.probabilities[name]) < 0.02, answer.file
    assert plain.predicted == run.classes[int(expected[0].argmax())]


def test_the_mark_tells_a_turned_slice_from_an_upright_one(run, marked):
    upright, turned = run.features(np.stack([marked, marked[::-1, ::-1]]))
    assert np.abs(upright - turned).max() > 1e-3


def test_slices_of_a_volume_are_chosen_by_number(run, tmp_path):
    heads = make_phantom(3, 2, SIZE).images.astype(np.int16)
    write_nifti(tmp_path / "v.nii", np.stack([image.T for image in heads], axis=2), np.diag([-1.0, -1.0, 5.0, 1.0]))
    found = btjax.predict(run, tmp_path / "v.nii", PredictOptions(abstain=False, slices=(3, 5)))
    assert [answer.slice for answer in found] == ["003", "004", "005"]
    with pytest.raises(btjax.InputError, match="no volume or series"):
        btjax.predict(run, tmp_path / "v.nii", PredictOptions(abstain=False, slices=(300, 500)))


def test_damaged_files_are_lines_among_those_that_are_whole(run, marked, tmp_path):
    folder = tmp_path / "scans"
    write_dicom(folder / "whole.dcm", marked)
    data = (folder / "whole.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(data[: len(data) // 2])
    four = np.random.default_rng(0).integers(0, 900, (8, 8, 4, 3)).astype(np.int16)
    write_nifti(folder / "four.nii", four)
    holes = np.repeat(make_phantom(1, 1, SIZE).images[:1].transpose(2, 1, 0).astype(np.float32), 2, axis=2)
    holes[0, 0] = np.nan
    write_nifti(folder / "holes.nii", holes)
    turn = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
    write_nifti(folder / "oblique.nii", np.nan_to_num(holes), turn)
    (folder / "torn.nii.gz").write_bytes(b"\x1f\x8b damaged")
    found = btjax.predict(run, folder, ALWAYS)
    unread = {answer.file: answer.reason for answer in found if answer.probabilities is None}
    assert set(unread) == {"cut.dcm", "four.nii", "torn.nii.gz"}
    assert "expected one volume" in unread["four.nii"]
    assert all(reason and "\n" not in reason for reason in unread.values())
    assert {answer.file for answer in found} - set(unread) == {"whole.dcm", "holes.nii", "oblique.nii"}


# A whole file in an envelope (CMS, PS3.15 D.1) begins with its ASN.1 header, and holds no preamble.
ENVELOPE = b"\x30\x82\x10\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(range(256)) * 8


def test_encrypted_and_truncated_dicom_files_are_one_line_each(run, marked, tmp_path):
    folder = tmp_path / "scans"
    whole = write_dicom(folder / "whole.dcm", marked, **HEADER)
    data = whole.read_bytes()
    for name, end in {"preamble": 128, "header": 400, "pixels": len(data) - 1}.items():
        (folder / f"{name}.dcm").write_bytes(data[:end])
    (folder / "envelope.dcm").write_bytes(ENVELOPE)
    # Attributes in an envelope of their own (PS3.15 E.1), the pixels among them.
    hidden, envelope = dicom(marked, **HEADER), Dataset()
    envelope.EncryptedContentTransferSyntaxUID, envelope.EncryptedContent = uid.ExplicitVRLittleEndian, ENVELOPE
    hidden.EncryptedAttributesSequence = [envelope]
    del hidden.Rows, hidden.Columns, hidden.PixelData
    hidden.save_as(folder / "hidden.dcm", enforce_file_format=True)
    found = {answer.file: answer for answer in btjax.predict(run, folder, ALWAYS)}
    assert found.pop("whole.dcm").answered
    assert set(found) == {f"{name}.dcm" for name in ("preamble", "header", "pixels", "envelope", "hidden")}
    for name, answer in found.items():
        assert not answer.answered and answer.reason.startswith(name) and "\n" not in answer.reason, answer.reason
        assert not [secret for secret in SECRETS if secret in answer.reason]


def test_nothing_that_a_header_says_of_a_patient_reaches_an_output(run, marked, tmp_path):
    folder = tmp_path / "in" / "ZEBEDEE_ANN" / "2021-03-04"
    write_dicom(folder / "zx991177_1.dcm", marked, **HEADER)
    write_dicom(folder / "2.dcm", marked[::-1].copy(), InstanceNumber=2, SOPInstanceUID=uid.generate_uid(), **HEADER)
    data = (folder / "2.dcm").read_bytes()
    (folder / "Zebedee.dcm").write_bytes(data[: len(data) - 300])
    (folder / "scout.dcm").write_bytes(b"")
    write_dicom(folder / "scout.dcm", marked, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **HEADER)
    out = tmp_path / "out"
    predict_into(run, tmp_path / "in", out, ALWAYS, explain=["gradient"])
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) >= 5
    for path in written:
        text = path.read_bytes().decode("latin-1").lower() + str(path.relative_to(out)).lower()
        for secret in (*SECRETS, "2021-03-04"):
            assert secret.lower() not in text, (path, secret)


def test_dates_and_names_are_found_in_a_header_and_hidden_in_a_path(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8), **HEADER)
    words = private_words(path)
    assert {"Zebedee", "ZX991177", "19610203", "2021-03-04", "Quimby"} <= words
    shown = hide(pathlib.PurePosixPath("20210304/t1/zebedee.dcm"), words, b"a secret of sixteen")
    assert shown.split("/")[1] == "t1" and shown.endswith(".dcm") and "zebedee" not in shown and "2021" not in shown
    assert private_words(tmp_path / "missing.dcm") == frozenset()
