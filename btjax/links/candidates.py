"""Pairs of slices that are worth a closer look, found in blocks so that memory stays bounded."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from btjax.links.registration import Sheets, box_map, make_sheets, register
from btjax.links.views import WINDOWS, Views, blocks, flip_signs, window_of

if TYPE_CHECKING:
    from btjax.base.progress import ProgressCallback

NEAR_CANDIDATES = 8
"""For how many others each slice is tried as a near-duplicate."""

NEIGHBOUR_CANDIDATES = 30
"""With how many others each slice is compared as a neighbour."""

_WAVE_FLOOR = 0.45
"""Slices whose low frequencies agree less than this are not laid over each other."""

_HALF = 128


@dataclasses.dataclass(frozen=True, eq=False)
class Sides:
    """Which slices are compared with which: all with all, or two sets with each other.

    Attributes:
      first: int [A], row numbers.
      second: int [B], row numbers; None where slices of `first` are compared among themselves.
    """

    first: np.ndarray
    second: np.ndarray | None = None

    def searches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(who asks, who may answer), each of row numbers."""
        if self.second is None:
            return [(self.first, self.first)]
        return [(self.first, self.second), (self.second, self.first)]

    def kept(self, among: np.ndarray) -> Sides:
        """The rows for which `among`, bool [N], holds."""
        return Sides(self.first[among[self.first]], None if self.second is None else self.second[among[self.second]])


def ordered(pairs: np.ndarray) -> np.ndarray:
    """Different pairs with the smaller row number first, sorted, int32 [P, 2]."""
    if not len(pairs):
        return np.zeros((0, 2), np.int32)
    return np.unique(np.sort(pairs, axis=1), axis=0).astype(np.int32)


def copy_pairs(digests: np.ndarray, sides: Sides) -> np.ndarray:
    """Pairs of slices with the same pixels, int32 [P, 2]: each copy with the first slice of its kind.

    Between two sets every copy is paired with the first of the other set.

    Args:
      digests: of the pixels of all slices; see `btjax.readers.slices.digests_of`.
      sides: which are compared.
    """
    keys = digests.tolist()
    pairs, first_of = [], {}
    for row in sides.first.tolist():
        key = keys[row]
        if sides.second is None and key in first_of:
            pairs.append((first_of[key], row))
        first_of.setdefault(key, row)
    if sides.second is not None:
        answers: dict[str, int] = {}
        for row in sides.second.tolist():
            key = keys[row]
            if key in first_of:
                pairs.append((first_of[key], row))
                answers.setdefault(key, row)
        for row in sides.first.tolist():
            key = keys[row]
            if key in answers:
                pairs.append((row, answers[key]))
    return ordered(np.array(pairs, np.int32).reshape(-1, 2))


def near_pairs(views: Views, sides: Sides, progress: ProgressCallback | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that may be one slice under crop, rescale, flip and intensity change, with how well they agree.

    Args:
      views: of all slices.
      sides: which are compared.
      progress: called as `progress(what, done, total)`.

    Returns:
      int32 [P, 2], and float32 [P], the correlation of fine contrast after registration.
    """
    rows, ways = _wave_candidates(views, sides, progress)
    if not len(rows):
        return np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
    sheets = make_sheets(views.frame)
    scores = []
    for block in blocks(len(rows)):
        scores.append(_laid_over(views, sheets, rows[block], ways[block]))
        if progress is not None:
            progress("lay over each other", int(block[-1]) + 1, len(rows))
    pairs, scores = np.sort(rows, axis=1).astype(np.int32), np.concatenate(scores)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], scores[order]


def _ways() -> list[tuple[int, int]]:
    """(flip, window): every window as it is and flipped left to right, the whole head flipped top to bottom too."""
    return [(flip, window) for flip in (0, 1) for window in range(len(WINDOWS))] + [(2, 0), (3, 0)]


def _wave_candidates(views: Views, sides: Sides, progress: ProgressCallback | None) -> tuple[np.ndarray, np.ndarray]:
    """Who asked and who answered, int [M, 2], each two slices once, and by which of `_ways`, int [M]."""
    signs, found, ways, agreed = flip_signs(), [], [], []
    total, before = sum(len(asking) for asking, _ in sides.searches()), 0
    for asking, answering in sides.searches():
        most = min(NEAR_CANDIDATES, len(answering) - (1 if sides.second is None else 0))
        base = [np.ascontiguousarray(views.waves[answering, window].T) for window in range(len(WINDOWS))]
        for block in blocks(len(asking) if most > 0 else 0, _HALF):
            rows = asking[block]
            best = np.full((len(rows), len(answering)), -2, np.float32)
            way = np.zeros(best.shape, np.int8)
            for number, (flip, window) in enumerate(_ways()):
                agree = (views.waves[rows, 0] * signs[flip]) @ base[window]
                way[agree > best] = number
                np.maximum(best, agree, out=best)
            best[rows[:, None] == answering[None]] = -2
            top = np.argpartition(-best, most - 1, axis=1)[:, :most]
            one, place = np.nonzero(np.take_along_axis(best, top, axis=1) > _WAVE_FLOOR)
            column = top[one, place]
            found.append(np.stack([rows[one], answering[column]], axis=1))
            ways.append(way[one, column])
            agreed.append(best[one, column])
            if progress is not None:
                progress("look for duplicates", before + int(block[-1]) + 1, total)
        before += len(asking)
    if not found:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int8)
    rows, order = np.concatenate(found), np.argsort(-np.concatenate(agreed), kind="stable")
    # Of the two ways in which two slices found each other the better one is kept.
    kept = order[np.unique(np.sort(rows[order], axis=1), axis=0, return_index=True)[1]]
    return rows[kept], np.concatenate(ways)[kept]


def _laid_over(views: Views, sheets: Sheets, pairs: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """How well pairs (who asked, who answered) agree, float32 [P]."""
    table = np.array(_ways())[ways]
    asking, answering = pairs.T
    boxes = views.boxes[asking].copy()
    across, up = np.isin(table[:, 0], (1, 3)), table[:, 0] >= 2
    boxes[across, 2:] = 1 - boxes[across][:, [3, 2]]
    boxes[up, :2] = 1 - boxes[up][:, [1, 0]]
    windows = np.stack(
        [window_of(views.boxes[row], WINDOWS[way]) for row, way in zip(answering, table[:, 1], strict=True)]
    )
    return register(sheets.take(answering), sheets.take(asking, table[:, 0]), box_map(windows, boxes))[0]


def neighbour_candidates(views: Views, sides: Sides, progress: ProgressCallback | None = None) -> np.ndarray:
    """Pairs that look alike at low resolution, int32 [P, 2], sorted; see `NEIGHBOUR_CANDIDATES`."""
    from sklearn.neighbors import NearestNeighbors

    found = []
    total, before = sum(len(asking) for asking, _ in sides.searches()), 0
    for asking, answering in sides.searches():
        own = 1 if sides.second is None else 0
        most = min(NEIGHBOUR_CANDIDATES + own, len(answering))
        if most > own and len(asking):
            search = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(views.coarse[answering])
            for block in blocks(len(asking), 1024):
                rows = asking[block]
                places = search.kneighbors(views.coarse[rows], return_distance=False)
                found.append(np.stack([np.repeat(rows, most), answering[places.ravel()]], axis=1))
                if progress is not None:
                    progress("look for neighbours", before + int(block[-1]) + 1, total)
        before += len(asking)
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
    return ordered(pairs[pairs[:, 0] != pairs[:, 1]])
