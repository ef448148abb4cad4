"""Walking through a data folder: its files and folders, and what is passed over."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from btjax.base.errors import InputError, one_line
from btjax.base.opening import odd_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SYSTEM = re.compile(
    r"__MACOSX|\$RECYCLE\.BIN|RECYCLER|System Volume Information|lost\+found|#recycle|@eaDir|#snapshot|~snapshot|"
    r"Network Trash Folder|Temporary Items|__pycache__|Icon\r?|@Recycle|@Recently-Snapshot|Recycled?([ _-]?Bin)?|Trash|"
    r"Papierkorb|Corbeille|Papelera|Cestino",
    re.IGNORECASE,
)
"""Names that operating systems and network drives put beside people's files: caches, recycle bins, snapshots."""

_LITTER = re.compile(
    r"(eh)?thumbs(_vista)?\.db|desktop\.ini|.*~|~\$.*|.*\.(crdownload|part|partial|download|bak|tmp|old|orig|swp)|"
    r".*\.(png|jpe?g|tiff?|bmp|mat|dcm)\.[0-9]+",
    re.IGNORECASE,
)
"""Files that file managers, editors and unfinished downloads leave."""


@dataclasses.dataclass(frozen=True)
class Walk:
    """What stands in a folder.

    Attributes:
      files: every file, sorted.
      folders: every folder below the folder itself, sorted.
      passed_paths: what is passed over: why -> paths inside the folder.
    """

    files: tuple[pathlib.Path, ...]
    folders: tuple[pathlib.Path, ...]
    passed_paths: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> tuple[str, ...]:
        """What is passed over, in words: how many things, and why."""
        return self.passed_in_words()

    def passed_in_words(self, shown: Callable[[str], str] = str) -> tuple[str, ...]:
        """`passed`, with paths as `shown` (`btjax.readers.raw.Source.shown`) gives them."""
        return tuple(listed(why, self.passed_paths[why], shown) for why in sorted(self.passed_paths))


def walk(folder: pathlib.Path) -> Walk:
    """Walks through a folder; links to folders are followed once.

    Hidden names, what operating systems keep beside files (`__MACOSX`, recycle bins) and what programs leave behind
    are passed over and counted.

    Raises:
      InputError: a folder below cannot be read, or a pipe, a socket or a device stands among the files.
    """
    files: list[pathlib.Path] = []
    folders: list[pathlib.Path] = []
    passed: dict[str, list[str]] = collections.defaultdict(list)
    seen = {os.path.realpath(parent) for parent, _, _ in _visit(folder, followlinks=False)}
    for parent, directories, names in _visit(folder, followlinks=True):
        place, real = pathlib.Path(parent), os.path.realpath(parent)
        if place != folder and _goes_through_link(place, folder):
            if real in seen:  # a real folder keeps its own name; a link to it is another name for the same slices
                passed["link(s) to folders that are read already"].append(place.relative_to(folder).as_posix())
                directories.clear()
                continue
            seen.add(real)
        if place != folder:
            folders.append(place)
        for name in (*directories, *names):
            if why := _why_passed(name):
                passed[why].append((place / name).relative_to(folder).as_posix())
        directories[:] = sorted(name for name in directories if not _why_passed(name))
        files += [_checked(place / name) for name in names if not _why_passed(name)]
    return Walk(tuple(sorted(files)), tuple(sorted(folders)), dict(passed))


def _visit(folder: pathlib.Path, followlinks: bool) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` without what is passed over; a folder that cannot be read is refused."""
    for parent, directories, names in os.walk(folder, followlinks=followlinks, onerror=_refuse):
        yield parent, directories, names
        directories[:] = [name for name in directories if not _why_passed(name)]


def _goes_through_link(place: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether a folder is a link, or lies behind one, below the data folder."""
    return os.path.realpath(place) != os.path.join(os.path.realpath(folder), place.relative_to(folder))


def _checked(path: pathlib.Path) -> pathlib.Path:
    """The path; refuses what is neither a file nor a folder, such as a pipe, which would be waited for."""
    try:
        kind = odd_kind(path.stat().st_mode)
    except OSError:
        return path  # a broken link is a file that cannot be read, and is refused
    if kind:
        raise InputError(f"{path}: found {kind}, expected files and folders alone")
    return path


def listed(what: str, names: Sequence[str], shown: Callable[[str], str] = str) -> str:
    """A count with the first names as `shown` gives them; "(s)" in `what` becomes "s" where there are several.

    Example:
      >>> listed("note(s)", ["c.txt", "a.txt", "b.txt"]), listed("note(s)", ["a.txt"])
      ('3 notes (a.txt, b.txt, ...)', '1 note (a.txt)')
    """
    what = what.replace("(s)", "" if len(names) == 1 else "s")
    more = ", ..." if len(names) > 2 else ""
    return one_line(f"{len(names)} {what} ({', '.join(map(shown, sorted(names)[:2]))}{more})")


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}), expected a readable folder") from error


def _why_passed(name: str) -> str | None:
    """Why a name is passed over, or None."""
    if name.startswith("."):
        return "hidden"
    if _SYSTEM.fullmatch(name):
        return "of the operating system"
    return "left by other programs" if _LITTER.fullmatch(name) else None
