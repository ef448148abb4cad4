import dataclasses

import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.runs.predictions import Predictions


def make(rows=6, patients=True):
    random = np.random.default_rng(0)
    return Predictions(
        ids=np.array([f"s{row}" for row in range(rows)]),
        labels=random.integers(0, 2, rows).astype(np.int32),
        sides=np.array(["train", "validation", "test"] * (rows // 3)),
        logits=random.normal(size=(rows, 2)).astype(np.float32),
        classes=("glioma", "no_tumor"),
        patients=np.array([f"p{row // 2}" for row in range(rows)]) if patients else None,
    )


def test_mirrored_predictions_are_kept_with_their_side(tmp_path):
    first = dataclasses.replace(make(), flipped=np.arange(12, dtype=np.float32).reshape(6, 2))
    first.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    np.testing.assert_array_equal(again.flipped, first.flipped)
    np.testing.assert_array_equal(again.side("test").flipped, first.flipped[[2, 5]])
    with pytest.raises(ValueError, match="flipped has 5 rows"):
        dataclasses.replace(make(), flipped=np.zeros((5, 2), np.float32))


@pytest.mark.parametrize("patients", [True, False])
def test_what_is_saved_comes_back(tmp_path, patients):
    first = make(patients=patients)
    first.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    for name in ("ids", "labels", "sides", "logits"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert again.classes == first.classes and (again.patients is None) == (not patients)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_a_side_holds_its_own_rows():
    found = make().side("test")
    assert found.ids.tolist() == ["s2", "s5"] and found.patients.tolist() == ["p1", "p2"]
    assert found.accuracy == np.mean(found.logits.argmax(1) == found.labels)
    with pytest.raises(ValueError, match="expected one of train, validation, test"):
        make().side("tests")


def test_probabilities_are_the_softmax_even_of_large_logits():
    found = dataclasses.replace(make(), logits=np.array([[1e4, 0.0]] * 6, np.float32))
    np.testing.assert_allclose(found.probabilities, [[1.0, 0.0]] * 6)


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="labels has 5 rows"):
        dataclasses.replace(make(), labels=np.zeros(5, np.int32))
    with pytest.raises(ValueError, match="expected \\(6, 3\\)"):
        dataclasses.replace(make(), classes=("a", "b", "c"))


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "text", "foreign", "pickled", "later"])
def test_what_is_no_predictions_file_is_one_clear_line(tmp_path, damage):
    path = tmp_path / "predictions.npz"
    make().save(path)
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    elif damage == "foreign":
        np.savez(path, a=np.zeros(3))
    elif damage == "pickled":
        np.savez(path, schema=np.int32(1), id=np.array([{"a": 1}], dtype=object))
    elif damage == "later":
        np.savez(path, schema=np.int32(99))
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not a zip"}[damage])
    with pytest.raises(InputError, match=r"predictions\.npz") as caught:
        Predictions.load(path)
    assert "\n" not in str(caught.value)
