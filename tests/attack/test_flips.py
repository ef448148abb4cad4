"""A bit flipped in a file of each kind that is kept: it is never used, and the count tells what became of it."""

import dataclasses
import os

import numpy as np
import pytest

from btjax.base.errors import InputError
from tests.attack.flips import ANEW, HARMLESS, KINDS, NAMED, USED, Place, became, count_flips, flipped

COUNT = 200 if os.environ.get("BTJAX_TESTS_LONG") else len(KINDS)


@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
def test_no_flipped_bit_is_used(tmp_path):
    found = count_flips(tmp_path, COUNT, seed=1)
    assert found["used"] == []
    counts = list(found["kinds"].values())
    assert sum(sum(one.values()) for one in counts) == COUNT
    assert all(sum(one.values()) >= COUNT // len(KINDS) for one in counts)
    assert sum(one[NAMED] + one[ANEW] for one in counts) > COUNT // 2


def test_the_files_that_describe_prepared_slices_are_flipped_and_kept_features_are_not(tmp_path):
    place = Place(tmp_path / "data", tmp_path / "images", tmp_path / "whole")
    paths = [place.cache / "brain_tumours" / "features.json", place.cache / "features" / "conv_1" / "0.npy"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(8))
    kind = dataclasses.replace(KINDS["prepared slices"], read=lambda *_: "whole")
    for seed in range(4):
        flipped(place, kind, np.random.default_rng(seed), ("whole", []))
    assert paths[0].read_bytes() != bytes(8) and paths[1].read_bytes() == bytes(8)


def _refuse(_):
    raise InputError("x: damaged")


def _break(_):
    raise KeyError("x")


def _say(told):
    told.on_message("trained to its end")
    told.on_message("note: x is damaged, the one before is used")
    return "whole"


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (_refuse, (NAMED, "x: damaged")),
        (_break, (USED, "KeyError: 'x'")),
        (_say, (NAMED, "note: x is damaged, the one before is used")),
        (lambda _: "other", (USED, "another result")),
        (lambda _: "whole", (HARMLESS, "")),
    ],
)
def test_what_became_of_a_flip_is_told_apart(tmp_path, read, expected):
    path = tmp_path / "file"
    path.write_bytes(b"flipped")
    assert became(read, path, ("whole", ["trained to its end"])) == expected


@pytest.mark.parametrize("write", [lambda path: path.unlink(), lambda path: path.write_bytes(b"whole")])
def test_a_file_that_is_computed_again_is_told_from_one_that_is_left(tmp_path, write):
    path = tmp_path / "file"
    path.write_bytes(b"flipped")

    def read(_):
        write(path)
        return "whole"

    assert became(read, path, ("whole", [])) == (ANEW, "")
