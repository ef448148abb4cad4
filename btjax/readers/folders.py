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
from btjax.readers.classes import (
    ACCEPTED_CLASSES,
    CLASSES,
    NUMBERS,
    class_name,
    classes_within,
    is_healthy,
    known_class,
    order_classes,
)
from btjax.readers.images import IMAGE_SUFFIXES, read_image
from btjax.readers.mask_names import MASK_WORDS
from btjax.readers.raw import RawSlice, Source
from btjax.readers.slices import SIDES
from btjax.readers.walk import Walk, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NOTE_SUFFIXES = (
    *(".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".html", ".pdf", ".xlsx", ".docx", ".log"),
)
_SIDE = re.compile(
    r"(.*[ _-])?((?P<train>train(ing)?)|(?P<validation>val(id(at(e|ion))?)?|dev)|"
    r"(?P<test>test(ing)?|eval(uation)?|hold[ _-]?out))([ _-]?(set|data|dataset|images?|dir|folder|split|[0-9]+))?",
    re.IGNORECASE,
)
_STRUCTURE = re.compile(
    r"(data|image)[ _-]?sets?|data|images?|imgs?|pictures?|slices?|raw|cleaned|(fold|part|split|batch|set)[ _-]?[0-9]*",
    re.IGNORECASE,
)
_MASKS = re.compile(rf"(.*[ _.-]|tumou?r)?({MASK_WORDS})[0-9]*([ _.-].*)?", re.IGNORECASE)
_MASK_STEM = re.compile(
    rf"(?P<stem>.+?)[ _.-]*({MASK_WORDS})[ _.-]*[0-9]*|({MASK_WORDS})[ _.-]*(?P<end>.+)", re.IGNORECASE
)
_COPY = re.compile(r".+([ _-]+(copy|kopie|copie|copia)([ _-]*\(?[0-9]+\)?)?|[ _]*\([0-9]+\))", re.IGNORECASE)
_THUMBNAILS = re.compile(r"(.*[ _-])?(thumbs?|thumbnails?|previews?)([ _-].*)?", re.IGNORECASE)
_SLICES_ONLY = "slices only (images with masks are read from images/ and masks/ with manifest.csv)"


def find_classes(folder: pathlib.Path, found: Walk) -> Source | None:
    """A tree of class folders; None if it holds no image.

    The module's description says which folder of a path names its class. The classes are those that are found, in the
    order of `classes.order_classes`; where every class folder is numbered they are the paper's three. A slice's id is
    its file's stem if the stems of the whole tree differ, else its path in the tree. Patients, masks and folds are not
    known in this form.

    Args:
      folder: the data folder.
      found: what stands in it.

    Raises:
      InputError: an image outside any class folder, a path or a folder's name that names two classes, two folders side
        by side that name the same class, a class folder without images, a folder or a file that looks like masks, or
        one class alone.
    """
    tree = _Tree.of(folder, found.files, found.folders)
    if not tree.pictures and not any(known_class(part) for path in tree.candidates for part in path.parent.parts):
        return None
    tree.check_masks()
    places = {path: tree.class_folder(path.parent) for path in tree.candidates}
    for path in tree.pictures:
        if places[path] is None:
            where = folder / path.parent
            raise InputError(f"{where}: holds images, expected only class folders named {ACCEPTED_CLASSES}")
    placed = {path: place for path, place in places.items() if place is not None}
    tree.check_filled(placed)
    return _source(tree, placed)


def _source(tree: _Tree, places: Mapping[pathlib.PurePath, pathlib.PurePath]) -> Source:
    """The source of files whose class folder is known."""
    named, classes = _named(tree, set(places.values()))
    sides = {path: _side_folder(path) for path in places}
    names = _ids(places)
    entries = []
    for path, place in places.items():
        side = sides[path]
        label, told = classes.index(named[place]), side[1] if side and all(sides.values()) else None
        entries.append((names[path], functools.partial(_read_picture, tree.folder / path, names[path], label, told)))
    by_class = collections.Counter(named[place] for place in places.values())
    by_side = collections.Counter(side[0] for side in sides.values() if side)
    counts = ", ".join(f"{by_class[name]} {name}" for name in classes)
    counts += "".join(f"; {number} in {name}" for name, number in sorted(by_side.items()))
    return Source(
        folder=tree.folder,
        description=f"class folders of images ({len(places)} slices: {counts})",
        files=tuple(tree.folder / path for path in places),
        known=frozenset({"label", "side"} if all(sides.values()) else {"label"}),
        entries=tuple(entries),
        classes=classes,
        aside=tuple(tree.folder / path for path in tree.thumbnails),
        notes=_source_notes(tree, sides),
    )


def _named(tree: _Tree, places: set[pathlib.PurePath]) -> tuple[dict[pathlib.PurePath, str], tuple[str, ...]]:
    """The class of each class folder, and the classes in the order of their labels."""
    named = {place: class_name(place.name, str(tree.folder / place)) for place in places}
    _check_beside(tree.folder, named)
    classes = CLASSES if all(place.name in NUMBERS for place in named) else order_classes(named.values())
    if len(set(named.values())) < 2:
        raise InputError(f"{tree.folder}: found images of {min(named.values())} alone, expected at least two classes")
    return named, classes


@dataclasses.dataclass(frozen=True)
class Labelling:
    """What the folders of files say of them.

    Attributes:
      labels: the label of each file.
      sides: the side of the data set's own division of each file; None where one of them has none.
      classes: the names of the classes that the labels count.
      certain: whether any class folder is called after a known class.
    """

    labels: dict[pathlib.Path, int]
    sides: dict[pathlib.Path, str] | None
    classes: tuple[str, ...]
    certain: bool


def label_files(folder: pathlib.Path, walked: Walk, paths: Sequence[pathlib.Path]) -> Labelling | None:
    """The labels of files of another form than images, by the same rules as in `find_classes`.

    Args:
      folder: the data folder.
      walked: what stands in it.
      paths: those of its files that hold slices.

    Returns:
      What their folders say; None if no path lies in a class folder.

    Raises:
      InputError: as in `find_classes`.
    """
    tree = _Tree.of(folder, paths, walked.folders)
    inside = tuple(path.relative_to(folder) for path in paths)
    others = tuple(path.relative_to(folder) for path in set(walked.files) - set(paths))
    tree = dataclasses.replace(tree, pictures=inside, candidates=inside, thumbnails=(), beside=others)
    places = {path: tree.class_folder(path.parent) for path in inside}
    found: dict[pathlib.PurePath, pathlib.PurePath] = {path: place for path, place in places.items() if place}
    if not found:
        return None
    outside = next((path for path in inside if path not in found), None)
    if outside is not None:
        expected = f"expected only class folders named {ACCEPTED_CLASSES}"
        raise InputError(f"{folder / outside}: lies in no class folder, {expected}")
    tree.check_filled(found)
    named, classes = _named(tree, set(found.values()))
    sides = {folder / path: side[1] for path in inside if (side := _side_folder(path))}
    return Labelling(
        labels={folder / path: classes.index(named[place]) for path, place in found.items()},
        sides=sides if len(sides) == len(paths) else None,
        classes=classes,
        certain=any(known_class(place.name) for place in named),
    )


def _ids(paths: Iterable[pathlib.PurePath]) -> dict[pathlib.PurePath, str]:
    """The id of each file: its stem where the stems of all differ, else its path."""
    paths = list(paths)
    plain = len({path.stem for path in paths}) == len(paths)
    return {path: path.stem if plain else path.as_posix() for path in paths}


def _source_notes(tree: _Tree, sides: Mapping[pathlib.PurePath, tuple[str, str] | None]) -> tuple[str, ...]:
    """What to say of thumbnails, and of slices that stand in no folder of the data set's own division."""
    notes = []
    if tree.thumbnails:
        notes.append(f"ignored: {listed('thumbnail(s)', [path.as_posix() for path in tree.thumbnails])}")
    outside = [path.as_posix() for path, side in sides.items() if side is None]
    if 0 < len(outside) < len(sides):
        notes.append(f"the folders' own division is not used: it leaves out {listed('slice(s)', outside)}")
    return tuple(notes)


def _side_folder(path: pathlib.PurePath) -> tuple[str, str] | None:
    """The innermost folder of a path that names a side of the data set's own division, and that side."""
    for part in reversed(path.parent.parts):
        if match := _SIDE.fullmatch(part):
            return part, next(side for side in SIDES if match[side])
    return None


@dataclasses.dataclass(frozen=True)
class _Tree:
    """A data folder: paths relative to `folder`, and which of its folders are structure.

    Attributes:
      folder: the data folder.
      candidates: every file but those that people keep beside images.
      pictures: the candidates that are called like images.
      thumbnails: small copies of images that programs made, which are not read.
      beside: the files that people keep beside images.
      folders: every folder.
      outer: folders that hold everything.
      holding: folders that hold a folder called after a known class.
    """

    folder: pathlib.Path
    candidates: tuple[pathlib.PurePath, ...]
    pictures: tuple[pathlib.PurePath, ...]
    thumbnails: tuple[pathlib.PurePath, ...]
    beside: tuple[pathlib.PurePath, ...]
    folders: tuple[pathlib.PurePath, ...]
    outer: frozenset[pathlib.PurePath]
    holding: frozenset[pathlib.PurePath]

    @classmethod
    def of(cls, folder: pathlib.Path, files: Sequence[pathlib.Path], folders: Sequence[pathlib.Path]) -> _Tree:
        """The tree of a folder, and files and every folder below it."""
        paths = [path.relative_to(folder) for path in files]
        thumbnails = tuple(path for path in paths if _is_thumbnail(path))
        kept = [path for path in paths if not _is_thumbnail(path)]
        candidates = tuple(path for path in kept if not is_note(path))
        pictures = tuple(path for path in candidates if path.suffix.lower() in IMAGE_SUFFIXES)
        inner = [path.relative_to(folder) for path in folders]
        inner = tuple(path for path in inner if not _is_thumbnail(path / "x"))
        return cls(
            folder=folder,
            candidates=candidates,
            pictures=pictures,
            thumbnails=thumbnails,
            beside=tuple(path for path in kept if is_note(path)),
            folders=inner,
            outer=frozenset(_outer_folders(pictures or candidates)),
            holding=frozenset(above for path in inner if known_class(path.name) for above in path.parents),
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
        if not certain and _COPY.fullmatch(place.name):
            raise InputError(f"{self.folder / place}: is called like a copy, expected one folder of each class")
        return place

    def is_structure(self, place: pathlib.PurePath) -> bool:
        """Whether a folder divides the data set otherwise than by class."""
        named = _STRUCTURE.fullmatch(place.name) or _SIDE.fullmatch(place.name)
        if named and classes_within(place.name):
            where = self.folder / place
            raise InputError(f"{where}: names a class and a side, expected folders such as Training/glioma")
        return named is not None or place in self.outer or place in self.holding

    def check_masks(self) -> None:
        """Refuses what looks like masks: a mask is not a slice."""
        stems = {path.parent / path.stem.casefold() for path in self.pictures}
        for path in self.pictures:
            for place in path.parents:
                if place not in self.outer and _MASKS.fullmatch(place.name):
                    raise InputError(f"{self.folder / place}: looks like a folder of masks, expected {_SLICES_ONLY}")
            match = _MASK_STEM.fullmatch(path.stem)
            partner = match and (match["stem"] or match["end"])
            if partner and path.parent / partner.casefold() in stems:
                raise InputError(f"{self.folder / path}: looks like the mask of {partner}, expected {_SLICES_ONLY}")

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


def is_note(path: pathlib.PurePath) -> bool:
    """Whether a file is one that people keep beside images; every other file in a class folder must be an image."""
    return path.suffix.lower() in _NOTE_SUFFIXES


def _is_thumbnail(path: pathlib.PurePath) -> bool:
    """Whether a file, or a folder that it lies in, is called like a thumbnail."""
    return any(_THUMBNAILS.fullmatch(part) for part in (*path.parent.parts, path.stem))


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


def _read_picture(path: pathlib.Path, name: str, label: int | None = None, side: str | None = None) -> RawSlice:
    picture = read_image(path)
    return RawSlice(picture.pixels, label, id=name, where=str(path), side=side, remarks=picture.remarks)


def find_unlabelled(folder: pathlib.Path, found: Walk) -> Source | None:
    """Every image of a tree, without labels; None if there is none. Ids are as in `find_classes`.

    Raises:
      InputError: a folder or a file looks like masks.
    """
    tree = _Tree.of(folder, found.files, found.folders)
    if not tree.pictures:
        return None
    tree.check_masks()
    names = _ids(tree.pictures)
    return Source(
        folder=folder,
        description=f"images without labels ({len(names)} slices)",
        files=tuple(folder / path for path in names),
        known=frozenset(),
        entries=tuple((name, functools.partial(_read_picture, folder / path, name)) for path, name in names.items()),
        aside=tuple(folder / path for path in tree.thumbnails),
        notes=_source_notes(tree, {}),
    )
