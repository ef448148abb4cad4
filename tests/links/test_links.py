"""Links between slices: copies, near-duplicates, neighbours, and the groups that they form."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from btjax.data.phantom import make_phantom
from btjax.links.links import Links, link_between, link_slices, load_links
from btjax.links.rule import join
from btjax.readers.slices import Slices


def plain(images) -> Slices:
    images = np.asarray(images, np.uint8)
    sizes = np.full((len(images), 2), images.shape[1], np.int32)
    return Slices(images=images, labels=None, ids=np.array([f"{row}" for row in range(len(images))]), sizes=sizes)


@pytest.fixture(scope="module")
def heads() -> np.ndarray:
    """One slice of each of 12 synthetic patients, 96 pixels a side."""
    return make_phantom(4, 1, 96).images


def pairs_of(links: Links, *kinds: str) -> set[tuple[int, int]]:
    return {tuple(pair) for pair, kind in zip(links.pairs.tolist(), links.kinds, strict=True) if kind in kinds}


def test_the_same_pixels_are_copies_of_the_first_slice_that_has_them(heads):
    links = link_slices(plain(heads[[0, 1, 0, 2, 0]]))
    assert pairs_of(links, "copy") == {(0, 2), (0, 4)}
    assert links.groups[0] == links.groups[2] == links.groups[4]
    assert (links.scores[links.kinds == "copy"] == 1).all()


def cropped(image):
    return np.asarray(Image.fromarray(image[6:, 4:-8]).resize(image.shape, Image.Resampling.BILINEAR))


CHANGES = {
    "crop": cropped,
    "flip": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "rescale": lambda image: np.asarray(Image.fromarray(image).resize((48, 48)).resize((96, 96))),
    "gamma": lambda image: np.rint(255 * (image / 255) ** 0.7),
    "darker": lambda image: np.rint(0.6 * image + 10),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_near_duplicates_of_their_own_slice(heads, change):
    changed = np.stack([CHANGES[change](image) for image in heads[:6]])
    links = link_slices(plain(np.concatenate([heads, changed])))
    near, count = pairs_of(links, "near", "copy"), len(heads)
    assert {(row, count + row) for row in range(6)} <= near
    assert all(links.groups[row] == links.groups[count + row] for row in range(6))


def test_slices_without_contrast_are_copies_or_nothing(heads):
    blank = np.zeros((1, 96, 96), np.uint8)
    links = link_slices(plain(np.concatenate([heads[:2], blank, blank + 7, blank])))
    assert {pair for pair in pairs_of(links, "copy", "near", "neighbour") if max(pair) > 1} == {(2, 4)}


def test_noise_is_linked_to_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64))
    links = link_slices(plain(noise))
    assert len(links) == 0 and links.groups.tolist() == list(range(8))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_slices_are_no_trouble(heads, count):
    links = link_slices(plain(heads[:count]))
    assert links.pairs.shape == (len(links.scores), 2) and len(links.groups) == count


def test_the_same_slices_give_the_same_links(heads):
    one, two = link_slices(plain(heads)), link_slices(plain(heads))
    for field in dataclasses.fields(Links):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))


def test_what_is_found_hardly_depends_on_the_size_of_the_slices():
    twice = [make_phantom(2, 2, side).images for side in (128, 256)]
    first, second = (link_slices(plain(images)) for images in twice)
    one, two = (pairs_of(links, "near", "neighbour") for links in (first, second))
    assert len(one ^ two) <= 0.2 * max(len(one | two), 1)


def test_two_sets_of_different_sizes_are_compared_with_each_other_alone(heads):
    small = np.stack([np.asarray(Image.fromarray(image).resize((64, 64))) for image in heads[3:5]])
    links = link_between(plain(heads), plain(small))
    assert {(3, 0), (4, 1)} <= pairs_of(links, "near", "copy")
    assert links.pairs[:, 0].max() < len(heads) and links.pairs[:, 1].max() < 2


def test_a_copy_in_another_set_is_found_from_both_sides(heads):
    links = link_between(plain(heads[[0, 1, 0]]), plain(heads[[5, 0, 0]]))
    assert pairs_of(links, "copy") == {(0, 1), (0, 2), (2, 1)}


def test_links_are_kept_and_read_back(heads, tmp_path, monkeypatch):
    slices = plain(heads[[0, 1, 0]])
    found = load_links(slices, tmp_path)
    monkeypatch.setattr("btjax.links.links.link_slices", lambda *args: pytest.fail("found again"))
    read = load_links(slices, tmp_path)
    for field in dataclasses.fields(Links):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(read, field.name))


def test_a_damaged_copy_is_found_again(heads, tmp_path):
    slices = plain(heads[[0, 1, 0]])
    found = load_links(slices, tmp_path)
    (path,) = (tmp_path / "links").glob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    assert load_links(slices, tmp_path).pairs.tolist() == found.pairs.tolist()


def neighbours(*scored):
    pairs = np.array([pair for pair, _ in scored], np.int32)
    return pairs, np.array([score for _, score in scored]), np.full(len(pairs), "neighbour")


def test_a_single_weak_link_chains_no_two_groups_together():
    strong = [((0, 1), 0.99), ((2, 3), 0.99)]
    assert join(4, *neighbours(*strong, ((1, 2), 0.6)), strict=0.9).tolist() == [0, 0, 1, 1]


def test_two_weak_links_or_one_strong_one_join_two_groups():
    strong = [((0, 1), 0.99), ((2, 3), 0.99)]
    assert set(join(4, *neighbours(*strong, ((1, 2), 0.6), ((0, 3), 0.6)), strict=0.9)) == {0}
    assert set(join(4, *neighbours(*strong, ((1, 2), 0.95)), strict=0.9)) == {0}


def test_links_that_were_met_one_at_a_time_count_together_when_groups_merge():
    links = neighbours(
        ((0, 1), 0.99), ((2, 3), 0.99), ((4, 5), 0.99), ((1, 2), 0.8), ((3, 4), 0.7), ((1, 4), 0.7), ((0, 2), 0.6)
    )
    assert set(join(6, *links, strict=0.9)) == {0}


def test_a_weak_link_joins_a_single_slice():
    assert join(4, *neighbours(((0, 1), 0.99), ((1, 2), 0.6)), strict=0.9).tolist() == [0, 0, 0, 1]


def test_copies_always_join():
    pairs = np.array([[0, 1], [2, 3], [1, 2]], np.int32)
    assert set(join(4, pairs, np.array([0.86, 0.9, 0.85]), np.full(3, "near"))) == {0}


def test_links_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"Links\.pairs"):
        Links(np.zeros((2, 2), np.int32), np.zeros(3, np.float32), np.array(["near"] * 3), np.zeros(4, np.int32))
