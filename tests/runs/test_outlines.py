import jax
import numpy as np
import pytest

from btjax.base.errors import InputError
from btjax.runs.outlines import Found, Outlines, find_outlines, largest_part
from tests.training.blobs import blob_split, make_blobs

SLICES = make_blobs()
MASKS = np.random.default_rng(0).random(SLICES.images.shape) < 0.3
POINTS = np.random.default_rng(1).integers(0, 16, (len(SLICES), 2)).astype(np.int32)
OUTLINES = Outlines.of(SLICES, blob_split(SLICES), Found(MASKS, POINTS, np.full(len(SLICES), 0.5, np.float32)))


def test_outlines_come_back_from_their_file(tmp_path):
    OUTLINES.save(tmp_path / "outlines.npz")
    with np.load(tmp_path / "outlines.npz", allow_pickle=False) as held:
        assert int(held["schema"]) == 1
    found = Outlines.load(tmp_path / "outlines.npz")
    np.testing.assert_array_equal(found.masks, MASKS)
    for name in ("ids", "sides", "points", "certainties"):
        np.testing.assert_array_equal(getattr(found, name), getattr(OUTLINES, name))
    test = found.side("test")
    np.testing.assert_array_equal(np.sort(test.ids), np.sort(SLICES.ids[blob_split(SLICES).test]))
    np.testing.assert_array_equal(test.masks, MASKS[found.sides == "test"])


def test_a_file_that_is_no_outlines_is_one_line(tmp_path):
    path = tmp_path / "outlines.npz"
    with pytest.raises(InputError, match=r"outlines\.npz: not found, expected the outlines of a finished run"):
        Outlines.load(path)
    for content in (b"", b"PK nothing"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"outlines\.npz: damaged, or not written by btjax"):
            Outlines.load(path)
    OUTLINES.save(path)
    with np.load(path) as held:
        arrays = {name: array for name, array in held.items() if name != "sha256"}
    np.savez(path, **(arrays | {"size": np.int32(99)}))
    with pytest.raises(InputError, match="damaged"):
        Outlines.load(path)
    np.savez(path, **(arrays | {"schema": np.int32(7)}))
    with pytest.raises(InputError, match="outlines of schema 7, expected 1"):
        Outlines.load(path)


def test_the_largest_part_is_kept_and_corners_connect():
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[0, 1] = True
    mask[3, 3] = mask[4, 4] = mask[5, 5] = True
    kept = largest_part(mask)
    assert kept.sum() == 3 and kept[3, 3] and kept[5, 5]
    np.testing.assert_array_equal(largest_part(kept), kept)
    assert not largest_part(np.zeros((4, 4), bool)).any()


def test_outlines_are_where_the_probability_is_above_half_at_the_size_of_the_slices():
    probability = np.full((200, 8, 8), 0.01, np.float32)
    probability[:, 2:5, 3:7] = 0.9
    probability[:, 3, 5] = 0.99
    probability[7] = 0.01
    logits = np.zeros((200, 8, 8, 4), np.float32)
    logits[..., 0] = -np.log(probability / (1 - probability)) + np.log(3)
    place = {"now": 0}

    def predict(images):
        start = place["now"]
        place["now"] += len(images)
        return logits[start : start + len(images)]

    found = find_outlines(predict, np.zeros((200, 16, 16), np.uint8))
    assert found.masks.shape == (200, 16, 16) and not found.masks[7].any()
    expected = np.asarray(jax.image.resize(probability, (200, 16, 16), "bilinear")) > 0.5
    np.testing.assert_array_equal(found.masks, expected)
    assert (found.points[0] // 2).tolist() == [3, 5]
    np.testing.assert_allclose(found.certainties[[0, 7]], [0.99, 0.01], atol=0.05)
