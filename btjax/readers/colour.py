"""Colours back to grey levels: colour maps undone, other colours by luma, with a word on what was done.

Kaggle's `denizkavi1/brain-tumor` copy keeps PNGs with matplotlib's viridis colour map baked in, and people save slices
in jet, hot or bone; such images are recognised one by one and turned back to grey.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from scipy.spatial import KDTree

LUMA = "colours taken as luma"
MARKS = "coloured marks in a grey picture taken as luma"

_COMMON = ("viridis", "jet", "MATLAB's jet", "hot", "bone", "inferno", "plasma", "magma", "cividis", "turbo")
"""Of two maps that fit equally well the one that comes first here is taken."""

_DISTANCE, _SHARE = 30.0, 0.8
_FARTHER, _NEARLY_ALL = 60.0, 0.92
"""Shares of pixels that must lie within the two distances; JPEG, which halves the resolution of colour, leaves jet's
slices at 0.84 and 0.95 when saved with quality 30."""

_FEW_COLOURS = 16
_FOLD = 64
_CANDIDATES = 6
_SAMPLE = 256
_RIVAL, _DISAGREE = 1.4, 12.0
"""A second map whose mean squared distance is at most so many times the best one's must give nearly the same levels."""

_FAINT, _PLAIN, _STRONG = 12, 32, 64
"""Differences between the largest and the smallest of red, green and blue. Up to `_FAINT` is rounding; up to `_PLAIN`
is chroma noise of lossy compression, or a faint tint, which luma takes right; beyond `_STRONG` is ink."""


@dataclasses.dataclass(frozen=True, eq=False)
class ColourMap:
    """A colour map that can be undone.

    Attributes:
      name: matplotlib's name.
      table: uint8 [256, 3], the colours of the grey levels 0 to 255.
      folded: whether it comes near itself again (hsv, twilight), so that only exact colours tell the grey level.
    """

    name: str
    table: np.ndarray
    folded: bool


@functools.cache
def colour_maps() -> dict[str, ColourMap]:
    """Matplotlib's maps of at least 64 colours that are not grey, and MATLAB's jet (OpenCV's too), by name."""
    import matplotlib

    tables = {"MATLAB's jet": _matlab_jet()}
    for name in matplotlib.colormaps:
        colours = matplotlib.colormaps[name]
        if colours.N >= 64 and not name.endswith("_r"):
            tables[name] = colours(np.arange(256) / 255, bytes=True)[:, :3].copy()
    names = [*_COMMON, *sorted(tables.keys() - set(_COMMON))]
    found = {}
    for name in names:
        table = tables[name].astype(np.float64)
        distance = np.linalg.norm(table[:, None] - table, axis=-1)
        folded = bool((np.triu(distance < _DISTANCE, _FOLD)).any())
        if np.ptp(table, axis=1).max() > 0:
            found[name] = ColourMap(name, tables[name], folded)
    return found


def _matlab_jet() -> np.ndarray:
    """uint8 [256, 3]: jet(256) of MATLAB and COLORMAP_JET of OpenCV, trapezia of slope 4 around 3/4, 1/2 and 1/4."""
    levels = np.arange(1, 257) / 64
    bands = [np.clip(1.5 - np.abs(levels - centre), 0, 1) for centre in (3, 2, 1)]
    return np.rint(np.stack(bands, axis=-1) * 255).astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _lookup(name: str) -> tuple[np.ndarray, np.ndarray, KDTree]:
    """The grey value of each of the 2^24 colours (0 where the map has none), the map's colour codes, and a tree."""
    from scipy.spatial import KDTree

    table = colour_maps()[name].table
    codes = _codes(table)
    greys = np.zeros(1 << 24, np.uint8)
    greys[codes[::-1]] = np.arange(256, dtype=np.uint8)[::-1]  # of two values with one colour the lower is kept
    return greys, codes, KDTree(table.astype(np.float64))


def _codes(colours: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int32 [...], one number for each colour."""
    wide = colours.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def undo_map(colours: np.ndarray, name: str) -> np.ndarray | None:
    """The grey image under a baked-in colour map.

    Exact colours of the map give back their value (the lower one of two values that share a colour); other pixels (a
    lossy or resized copy) take the nearest colour in RGB. An image lies on the map when 80% of its pixels lie within a
    distance of 30 of it and 92% within 60, in mean square at least four times nearer to it than to grey.

    Args:
      colours: uint8 [H, W, 3].
      name: a map of `colour_maps`.

    Returns:
      uint8 [H, W], or None if the image is not in this map.
    """
    if _is_grey(colours):
        return None
    found = _nearest(colours, name)
    return None if found is None else found[0]


def _is_grey(colours: np.ndarray) -> bool:
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    return np.array_equal(red, green) and np.array_equal(green, blue)


def _nearest(colours: np.ndarray, name: str) -> tuple[np.ndarray, float] | None:
    """The grey image under a map and the mean square of the distances to it; None if it does not lie on the map."""
    greys, map_codes, tree = _lookup(name)
    codes = _codes(colours)
    grey = greys[codes]
    other = map_codes[grey] != codes
    if not other.any():
        return grey, 0.0
    unique, inverse, counts = np.unique(codes[other], return_inverse=True, return_counts=True)
    if len(unique) < _FEW_COLOURS and 2 * np.count_nonzero(other) > other.size:
        return None
    points = np.stack([unique >> 16, (unique >> 8) & 255, unique & 255], axis=-1).astype(np.float64)
    distance, nearest = tree.query(points)
    for most, share in ((_DISTANCE, _SHARE), (_FARTHER, _NEARLY_ALL)):
        if counts[distance > most].sum() > (1 - share) * codes.size:
            return None
    grey[other] = np.asarray(nearest, np.uint8)[inverse]
    square = float((counts * distance**2).sum())
    # Bone and pink run along the grey axis: what is grey with a little noise lies near them too.
    if 4 * square > float((counts * _to_axis(points)).sum()):
        return None
    return grey, square / codes.size


def _to_axis(points: np.ndarray) -> np.ndarray:
    """Squared distance of colours [N, 3] to the nearest grey."""
    return ((points - points.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)


def find_map(colours: np.ndarray) -> tuple[np.ndarray, str] | None:
    """The grey image under whichever colour map fits best, and the map's name.

    A picture whose border is bright is taken for the reversed map ("jet_r"), since a slice's background is dark.

    Args:
      colours: uint8 [H, W, 3].

    Returns:
      uint8 [H, W] and the name, or None if the image lies on none of the maps.
    """
    fits = []
    for order, name in enumerate(_likely(colours)):
        found = _nearest(colours, name)
        # Bwr is the middle of seismic: a picture that leaves out both ends of a map is in another one.
        if found is not None and (found[1] == 0 or found[0].min() <= 16 or found[0].max() >= 239):
            fits.append((found[1], order, name, found[0]))
    fits.sort(key=lambda fit: fit[:2])
    if not fits:
        return None
    square, _, name, grey = fits[0]
    if square > 0 and colour_maps()[name].folded:
        return None
    for other, _, _, levels in fits[1:]:
        if other <= _RIVAL * square and np.abs(levels.astype(np.int16) - grey).mean() > _DISAGREE:
            return None  # whichever is taken may be wrong, and luma says so
    # White all around is a figure's margin, which is the bright end of hot and its like.
    if _border(grey).mean() > 191 and _border(colours).min() < 250:
        return 255 - grey, f"{name}_r"
    return grey, name


def _likely(colours: np.ndarray) -> list[str]:
    """The names of the few maps that fit a sample of the pixels best, the best one first."""
    step = max(1, int(np.sqrt(colours.shape[0] * colours.shape[1] / _SAMPLE)))
    start = min(step // 2, min(colours.shape[:2]) - 1)
    codes = np.unique(_codes(colours[start::step, start::step]))
    maps = colour_maps()
    exact = [name for name in _COMMON if np.isin(codes, _codes(maps[name].table)).all()]
    if exact:
        return exact
    points = np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=-1).astype(np.float32)
    tables = np.concatenate([found.table for found in maps.values()]).astype(np.float32)
    squares = (points**2).sum(1)[:, None] - 2 * points @ tables.T + (tables**2).sum(1)
    nearest = np.minimum(squares.reshape(len(points), len(maps), 256).min(axis=2), 4 * _DISTANCE**2)
    order = np.argsort(np.rint(nearest.mean(axis=0) * 16), kind="stable")
    return [list(maps)[index] for index in order[:_CANDIDATES]]


def _border(image: np.ndarray) -> np.ndarray:
    """The outermost lines of [H, W, ...], joined."""
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def to_grey(colours: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Grey levels of a colour picture.

    Equal channels, and those that differ by chroma noise alone, become luma (ITU-R 601) without a word. A picture on a
    colour map is undone. All else is luma, with a remark.

    Args:
      colours: uint8 [H, W, 3].

    Returns:
      uint8 [H, W], and the remarks.

    Example:
      >>> red = np.zeros((4, 4, 3), np.uint8)
      >>> red[..., 0] = [0, 80, 160, 240]
      >>> grey, remarks = to_grey(np.where(np.eye(4, dtype=bool)[..., None], np.array([0, 0, 255], np.uint8), red))
      >>> remarks
      ('colours taken as luma',)
    """
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(red), ()
    highest = np.maximum(np.maximum(red, green), blue)
    chroma = highest - np.minimum(np.minimum(red, green), blue)
    few = max(4, chroma.size // 10_000)
    strong = np.count_nonzero(chroma > _STRONG) > few
    if strong or np.count_nonzero(chroma > _FAINT) > 0.01 * chroma.size:
        found = find_map(colours)
        if found is not None:
            return found[0], (f"colour map {found[1]} undone",)
    share = np.count_nonzero(chroma > _PLAIN) / chroma.size
    grey = np.asarray(Image.fromarray(colours).convert("L"))
    if share > 0.25:
        return grey, (LUMA,)
    if strong:
        return grey, (MARKS,)
    return grey, (LUMA,) if share > 0.01 else ()
