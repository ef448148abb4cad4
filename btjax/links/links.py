"""Slices that belong together, found from their pixels alone.

Three kinds of pairs: `copy`, the same pixels; `near`, one slice under crop, rescale, flip, intensity change or JPEG;
`neighbour`, slices of one patient in one plane at adjacent positions. Everything is computed at a fixed small size (see
`btjax.links.views`), so that what is found hardly depends on the size of the slices.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.base.errors import InputError, foreign
from btjax.base.files import cache_folder, make_cache, write_whole
from btjax.links.candidates import Sides, copy_pairs, near_pairs, neighbour_candidates
from btjax.links.rule import NEAR, NEIGHBOUR, join, neighbour_probabilities
from btjax.links.similarity import pair_features
from btjax.links.views import Views, joined, make_views
from btjax.readers.slices import digests_of

if TYPE_CHECKING:
    import os
    import pathlib

    from btjax.base.progress import ProgressCallback
    from btjax.readers.slices import Slices

KINDS = ("copy", "near", "neighbour")

VERSION = 1
"""Part of the kept file's name: raise it when the same slices give other links than before."""


@dataclasses.dataclass(frozen=True, eq=False)
class Links:
    """Pairs of slices that belong together, and the groups that they form.

    Attributes:
      pairs: int32 [P, 2], row numbers of the slices, the smaller first; of `link_between`, the row in the first set and
        the row in the second. Sorted.
      scores: float32 [P] in [0, 1]: 1 for copies, for `near` the correlation of the registered slices, for `neighbour`
        the probability that the rule gives.
      kinds: str [P], of `KINDS`.
      groups: int32 [N], the number of each slice's group, from 0 in the order of their first slices; a slice without
        links is alone in its group. Not every pair joins its groups: see `btjax.links.rule.join`. Of `link_between`
        the rows are those of both sets, one after the other.

    Raises:
      ValueError: arrays of other shapes.
    """

    pairs: np.ndarray
    scores: np.ndarray
    kinds: np.ndarray
    groups: np.ndarray

    def __post_init__(self):
        if self.pairs.shape != (len(self.scores), 2) or len(self.kinds) != len(self.scores):
            raise ValueError(f"Links.pairs {self.pairs.shape}, scores {self.scores.shape}, kinds {self.kinds.shape}")

    def __len__(self) -> int:
        return len(self.pairs)

    def count(self, kind: str) -> int:
        """How many pairs are of a kind."""
        return int(np.sum(self.kinds == kind))


def link_slices(slices: Slices, progress: ProgressCallback | None = None) -> Links:
    """Finds the slices of a data set that belong together; the same slices give the same links.

    Copies and near-duplicates are found first; neighbours are sought among the slices that are left when one stands
    for its duplicates.

    Args:
      slices: at least 32 pixels a side; only the images are read.
      progress: called as `progress(what, done, total)`.

    Example:
      >>> from btjax.data.phantom import make_phantom
      >>> from btjax.readers.slices import Slices
      >>> slices = make_phantom(2, 1, 64)
      >>> images = np.concatenate([slices.images, slices.images[:1, :, ::-1]])  # the first slice, mirrored
      >>> ids, sizes = np.arange(7).astype(str), np.full((7, 2), 64, np.int32)
      >>> links = link_slices(Slices(images, None, ids, sizes))
      >>> links.kinds[(links.pairs == [0, 6]).all(axis=1)].tolist()
      ['near']
    """
    views = make_views(slices.images, progress)
    pairs, scores, kinds = find_pairs(slices.digests, views, Sides(np.arange(len(slices))), progress)
    return Links(pairs, scores, kinds, join(len(slices), pairs, scores, kinds))


def link_between(first: Slices, second: Slices, progress: ProgressCallback | None = None) -> Links:
    """Finds pairs of a slice of one set and a slice of another that belong together.

    Args:
      first: the set whose rows stand first in the pairs.
      second: the other set, of any size of slices.
      progress: called as `progress(what, done, total)`.

    Returns:
      `pairs` hold row numbers of `first` and of `second`.
    """
    views = joined(make_views(first.images, progress), make_views(second.images, progress))
    rows = np.arange(len(views))
    sides = Sides(rows[: len(first)], rows[len(first) :])
    same_size = first.images.shape[1:] == second.images.shape[1:]
    digests = np.concatenate([first.digests, second.digests]) if same_size else digests_of(views.frame)
    pairs, scores, kinds = find_pairs(digests, views, sides, progress)
    groups = join(len(views), pairs, scores, kinds)
    return Links(pairs - np.array([0, len(first)], np.int32), scores, kinds, groups)


def find_pairs(
    digests: np.ndarray, views: Views, sides: Sides, progress: ProgressCallback | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of all kinds.

    Args:
      digests: of the pixels, str [N], compared for copies.
      views: of the same slices.
      sides: which are compared with which.
      progress: called as `progress(what, done, total)`.

    Returns:
      pairs int32 [P, 2], sorted; scores float32 [P]; kinds str [P].
    """
    copies = copy_pairs(digests, sides)
    first = np.ones(len(views), bool)
    if sides.second is None:
        first[copies[:, 1]] = False
    # A slice without contrast looks like every other one.
    shown = first & (views.frame.std(axis=(1, 2)) > 2)
    near, near_scores = near_pairs(views, sides.kept(shown), progress)
    near, near_scores = near[near_scores >= NEAR], near_scores[near_scores >= NEAR]
    near, near_scores = _without(near, near_scores, copies)
    standing = shown.copy()
    if sides.second is None:
        one = join(len(views), near, near_scores, np.full(len(near), "near"))
        standing &= np.isin(np.arange(len(views)), np.unique(one, return_index=True)[1])
    tried = neighbour_candidates(views, sides.kept(standing), progress)
    tried, _ = _without(tried, np.zeros(len(tried)), np.concatenate([copies, near]))
    tried_scores = neighbour_probabilities(pair_features(views, tried, progress), tried, len(views))
    linked = tried_scores >= NEIGHBOUR
    pairs = np.concatenate([copies, near, tried[linked]])
    scores = np.concatenate([np.ones(len(copies)), near_scores, tried_scores[linked]]).astype(np.float32)
    kinds = np.repeat(KINDS, [len(copies), len(near), int(linked.sum())])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order].astype(np.int32), scores[order].clip(0, 1), kinds[order]


def _without(pairs: np.ndarray, scores: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs and scores of the pairs that are not known yet."""
    taken = set(map(tuple, known.tolist()))
    kept = np.array([tuple(pair) not in taken for pair in pairs.tolist()], bool)
    return pairs[kept], scores[kept]


def load_links(
    slices: Slices, cache_dir: str | os.PathLike | None = None, progress: ProgressCallback | None = None
) -> Links:
    """The links of slices, from the cache where they were found before; see `link_slices`.

    Args:
      slices: the data set.
      cache_dir: folder for what is computed once; None for $BTJAX_CACHE, else ~/.cache/btjax.
      progress: called as `progress(what, done, total)`.

    Raises:
      InputError: the cache cannot be written.
    """
    folder = cache_folder(cache_dir) / "links"
    path = folder / f"{slices.fingerprint}_{VERSION}.npz"
    kept = _read(path, len(slices))
    if kept is not None:
        return kept
    make_cache(folder)
    links = link_slices(slices, progress)
    write_whole(path, lambda beside: _write(beside, links))
    return links


def _write(path: pathlib.Path, links: Links) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, pairs=links.pairs, scores=links.scores, kinds=links.kinds, groups=links.groups)


def _read(path: pathlib.Path, rows: int) -> Links | None:
    """What was kept; None where there is nothing, or it is damaged and has to be found again."""
    try:
        # Each array has a checksum in the zip, which is compared when it is read.
        with foreign(str(path)), open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            links = Links(kept["pairs"], kept["scores"], kept["kinds"], kept["groups"])
    except InputError:
        return None
    return links if len(links.groups) == rows else None
