"""Slices kept as image files in one folder for each class, of any two or more classes.

Which folder of a path names the class:

1. A folder called after one of the paper's classes or after "no tumor" (`classes.known_class`), at any depth.
2. Else the first folder that is not structure. A folder is structure if it is called Training, test, images, fold 1 or
   the like, if it contains all images of the data set, or if it contains a folder of rule 1. The words no, normal,
   healthy, none and figshare's numbers 1, 2, 3 name a class by this rule alone.

A path that could name two classes is refused.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
import pathlib
import re
from typing import TYPE_CHECKING

from btjax.base.errors import InputError
from btjax.data.classes import (
    ACCEPTED_CLASSES,
    CLASSES,
    NUMBERS,
    class_name,
    classes_within,
    is_healthy,
    known_class,
    order_classes,
)
from btjax.data.images import IMAGE_SUFFIXES, read_image
from btjax.data.raw import RawSlice, Source
from btjax.data.walk import list_folders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IGNORED_NAMES = ("thumbs.db", "desktop.ini")
IGNORED_SUFFIXES = (".txt", ".md", ".csv", ".json", ".html", ".pdf")
"""Files that people keep beside images; every other file in a class folder must be an image."""

_SIDES = "train(ing)?|test(ing)?|val(idation)?|valid|dev|eval(uation)?|holdout"
_STRUCTURE = re.compile(
    rf"({_SIDES})([ _-]?(set|data|images?))?|(data|image)[ _-]?sets?|data|images?|imgs?|pictures?|slices?|raw|cleaned|"
    r"(fold|part|split|batch|set)[ _-]?[0-9]*",
    re.IGNORECASE,
)
_SIDE = re.compile(_SIDES, re.IGNORECASE)
_MASK_WORD = "masks?|labels?|segmentations?|segs?|annotations?|ground[ _-]?truths?|gt|contours?"
_MASKS = re.compile(rf"(.*[ _-])?({_MASK_WORD})([ _-].*)?", re.IGNORECASE)
_MASK_STEM = re.compile(rf"(.+)[ _-]({_MASK_WORD})", re.IGNORECASE)
_SLICES_ONLY = "slices only (images with masks are read from images/ and masks/ with manifest.csv)"


def find_classes(folder: pathlib.Path, files: Sequence[pathlib.Path]) -> Source | None:
    """A tree of class folders; None if no image is among `files`.

    The module's description says which folder of a path names its class. The classes are those that are found, in the
    order of `classes.order_classes`; where every class folder is numbered they are the paper's three. A slice's id is
    its file's stem if the stems of the whole tree differ, else its path in the tree. Patients, masks and folds are not
    known in this form.

    Args:
      folder: the data folder.
      files: every file below it.

    Raises:
      InputError: an image outside any class folder, a path or a folder's name that names two classes, two folders side
        by side that name the same class, a class folder without images, a folder or a file that looks like masks, or
        one class alone.
    """
    tree = _Tree.of(folder, files)
    if not tree.pictures and not any(known_class(part) for path in tree.candidates for part in path.parent.parts):
        return None
    tree.check_masks()
    places = {path: tree.class_folder(path.parent) for path in tree.candidates}
    for path in tree.pictures:
        if places[path] is None:
            where = folder / path.parent
            raise InputError(f"{where}: holds images, expected only class folders named {ACCEPTED_CLASSES}")
    found = {path: place for path, place in places.items() if place is not None}
    tree.check_filled(found)
    return _source(tree, found)


def _source(tree: _Tree, places: Mapping[pathlib.PurePath, pathlib.PurePath]) -> Source:
    """The source of files whose class folder is known."""
    named, classes = _named(tree, set(places.values()))
    plain = len({path.stem for path in places}) == len(places)
    entries = []
    for path, place in places.items():
        name = path.stem if plain else path.as_posix()
        label = classes.index(named[place])
        entries.append((name, functools.partial(_read_class_image, tree.folder / path, name, label)))
    count = collections.Counter(named[place] for place in places.values())
    listed = ", ".join(f"{count[name]} {name}" for name in classes)
    sides = sorted({part for place in named for part in place.parent.parts if _SIDE.fullmatch(part)})
    together = f", {' and '.join(sides)} together" if len(sides) > 1 else ""
    description = f"class folders of images ({len(places)} slices: {listed}{together})"
    used = tuple(tree.folder / path for path in places)
    return Source(tree.folder, description, used, frozenset({"label"}), tuple(entries), classes)


def _named(tree: _Tree, places: set[pathlib.PurePath]) -> tuple[dict[pathlib.PurePath, str], tuple[str, ...]]:
    """The class of each class folder, and the classes in the order of their labels."""
    named = {place: class_name(place.name, str(tree.folder / place)) for place in places}
    _check_beside(tree.folder, named)
    classes = CLASSES if all(place.name in NUMBERS for place in named) else order_classes(named.values())
    if len(set(named.values())) < 2:
        raise InputError(f"{tree.folder}: found images of {min(named.values())} alone, expected at least two classes")
    return named, classes


def label_files(
    folder: pathlib.Path, files: Sequence[pathlib.Path], paths: Sequence[pathlib.Path]
) -> tuple[dict[pathlib.Path, int], tuple[str, ...], bool] | None:
    """The labels of files of another form than images, by the same rules as in `find_classes`.

    Args:
      folder: the data folder.
      files: every file below it.
      paths: those that hold slices.

    Returns:
      The label of each path, the classes, and whether any class folder is called after a known class; None if no path
      lies in a class folder.

    Raises:
      InputError: as in `find_classes`.
    """
    tree = _Tree.of(folder, paths)
    tree = dataclasses.replace(
        tree, pictures=tree.candidates, beside=tuple(path.relative_to(folder) for path in set(files) - set(paths))
    )
    places = {path: tree.class_folder(path.relative_to(folder).parent) for path in paths}
    found = {path: place for path, place in places.items() if place is not None}
    if not found:
        return None
    outside = next((path for path in paths if path not in found), None)
    if outside is not None:
        raise InputError(f"{outside}: lies in no class folder, expected only class folders named {ACCEPTED_CLASSES}")
    tree.check_filled({path.relative_to(folder): place for path, place in found.items()})
    named, classes = _named(tree, set(found.values()))
    labels = {path: classes.index(named[place]) for path, place in found.items()}
    return labels, classes, any(known_class(place.name) for place in named)


@dataclasses.dataclass(frozen=True)
class _Tree:
    """A data folder: paths relative to `folder`, and which of its folders are structure.

    Attributes:
      folder: the data folder.
      candidates: every file but those that people keep beside images.
      pictures: the candidates that are called like images.
      beside: the files that people keep beside images.
      folders: every folder.
      outer: folders that hold everything.
      holding: folders that hold a folder called after a known class.
    """

    folder: pathlib.Path
    candidates: tuple[pathlib.PurePath, ...]
    pictures: tuple[pathlib.PurePath, ...]
    beside: tuple[pathlib.PurePath, ...]
    folders: tuple[pathlib.PurePath, ...]
    outer: frozenset[pathlib.PurePath]
    holding: frozenset[pathlib.PurePath]

    @classmethod
    def of(cls, folder: pathlib.Path, files: Sequence[pathlib.Path]) -> _Tree:
        """The tree of a folder and every file below it."""
        paths = [path.relative_to(folder) for path in files]
        candidates = tuple(path for path in paths if not is_beside(path))
        pictures = tuple(path for path in candidates if path.suffix.lower() in IMAGE_SUFFIXES)
        folders = tuple(path.relative_to(folder) for path in list_folders(folder))
        return cls(
            folder=folder,
            candidates=candidates,
            pictures=pictures,
            beside=tuple(path for path in paths if is_beside(path)),
            folders=folders,
            outer=frozenset(_outer_folders(pictures or candidates)),
            holding=frozenset(above for path in folders if known_class(path.name) for above in path.parents),
        )

    def class_folder(self, inside: pathlib.PurePath) -> pathlib.PurePath | None:
        """The folder that names the class of what lies in the folder `inside`; None where none does.

        Raises:
          InputError: the path names two classes, or a number that is not a label.
        """
        path = [*reversed(inside.parents), inside][1:]
        certain = [place for place in path if known_class(place.name)]
        place = next((place for place in certain or path if certain or not self.is_structure(place)), None)
        if place is None:
            return None
        name = class_name(place.name, str(self.folder / place))
        # Folders 1, 2, 3 inside a folder called after a class are anything, such as patients; inside a folder with a
        # name of the user's own they might be the classes.
        rivals = {
            class_name(other.name)
            for other in path
            if _is_word(other.name) or (other.name in NUMBERS and not _is_word(place.name))
        }
        if rivals - {name} or (not certain and len(classes_within(place.name)) > 1):
            raise InputError(f"{self.folder / inside}: names two classes, expected one of {ACCEPTED_CLASSES}")
        return place

    def is_structure(self, place: pathlib.PurePath) -> bool:
        """Whether a folder divides the data set otherwise than by class."""
        return place in self.outer or place in self.holding or _STRUCTURE.fullmatch(place.name) is not None

    def check_masks(self) -> None:
        """Refuses what looks like masks: a mask is not a slice."""
        stems = {path.with_suffix("") for path in self.pictures}
        for path in self.pictures:
            for place in path.parents:
                if place not in self.outer and _MASKS.fullmatch(place.name):
                    raise InputError(f"{self.folder / place}: looks like a folder of masks, expected {_SLICES_ONLY}")
            match = _MASK_STEM.fullmatch(path.stem)
            if match and path.with_name(match[1]) in stems:
                raise InputError(f"{self.folder / path}: looks like the mask of {match[1]}, expected {_SLICES_ONLY}")

    def check_filled(self, places: Mapping[pathlib.PurePath, pathlib.PurePath]) -> None:
        """Refuses a class folder without images, given the class folder of every file that has one."""
        filled = {above for path in places for above in path.parents}
        pictured = {above for path in self.pictures for above in path.parents}
        beside = {above for path in self.beside for above in path.parents}
        for place in self.folders:
            own = not _is_word(place.name) and place.name not in NUMBERS
            if own and (place in beside and place not in filled):
                continue  # a folder of notes
            if place not in (pictured if own else filled) and self._is_class_folder(place):
                raise InputError(f"{self.folder / place}: this class folder holds no images, expected at least one")

    def _is_class_folder(self, place: pathlib.PurePath) -> bool:
        """Whether a folder, empty or not, is where the rules expect a class folder."""
        if known_class(place.name):
            return True
        return not self.is_structure(place) and all(
            self.is_structure(above) and not known_class(above.name) for above in list(place.parents)[:-1]
        )


def is_beside(path: pathlib.PurePath) -> bool:
    """Whether a file is one of those that people keep beside images."""
    return path.name.lower() in IGNORED_NAMES or path.suffix.lower() in IGNORED_SUFFIXES


def _is_word(name: str) -> bool:
    return known_class(name) is not None or is_healthy(name)


def _outer_folders(paths: Sequence[pathlib.PurePath]) -> list[pathlib.PurePath]:
    """The folders that hold all paths, from the outermost to the last that holds none directly or names a class."""
    if not paths:
        return []
    common = pathlib.PurePath(os.path.commonpath([path.parent for path in paths]))
    direct = any(path.parent == common for path in paths)
    chain = [*reversed(common.parents), *([] if direct else [common])][1:]
    return list(itertools.takewhile(lambda place: not _is_word(place.name) and place.name not in NUMBERS, chain))


def _check_beside(folder: pathlib.Path, named: Mapping[pathlib.PurePath, str]) -> None:
    """Refuses two folders side by side that stand for one class."""
    seen: dict[tuple[pathlib.PurePath, str], pathlib.PurePath] = {}
    for place, name in sorted(named.items()):
        other = seen.setdefault((place.parent, name), place)
        if other != place:
            both = f"{other.name} and {place.name}"
            raise InputError(
                f"{folder / place.parent}: found {both}, which both mean {name}, expected one folder for it"
            )


def _read_class_image(path: pathlib.Path, name: str, label: int | None) -> RawSlice:
    return RawSlice(image=read_image(path), label=label, id=name, where=str(path))


def find_unlabelled(folder: pathlib.Path, files: Sequence[pathlib.Path]) -> Source | None:
    """Every image of a tree, without labels; None if there is none. Ids are as in `find_classes`.

    Raises:
      InputError: a folder or a file looks like masks.
    """
    tree = _Tree.of(folder, files)
    if not tree.pictures:
        return None
    tree.check_masks()
    plain = len({path.stem for path in tree.pictures}) == len(tree.pictures)
    names = {path: path.stem if plain else path.as_posix() for path in tree.pictures}
    entries = tuple(
        (name, functools.partial(_read_class_image, folder / path, name, None)) for path, name in names.items()
    )
    used = tuple(folder / path for path in names)
    return Source(folder, f"images without labels ({len(names)} slices)", used, frozenset(), entries)
