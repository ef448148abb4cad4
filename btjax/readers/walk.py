"""Walking through a data folder: its files and folders, and what is passed over."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from btjax.base.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

_SYSTEM = re.compile(
    r"__MACOSX|\$RECYCLE\.BIN|RECYCLER|System Volume Information|lost\+found|#recycle|@eaDir|#snapshot|~snapshot|"
    r"Network Trash Folder|Temporary Items|__pycache__|Icon\r?",
    re.IGNORECASE,
)
"""Names that operating systems and network drives put beside people's files: caches, recycle bins, snapshots."""

_LITTER = re.compile(
    r"thumbs\.db|ehthumbs(_vista)?\.db|desktop\.ini|.*~|~\$.*|.*\.(crdownload|part|partial|download)", re.IGNORECASE
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
      InputError: a folder below cannot be read.
    """
    files: list[pathlib.Path] = []
    folders: list[pathlib.Path] = []
    passed: dict[str, list[str]] = collections.defaultdict(list)
    seen = set()
    for parent, directories, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(parent)
        if real in seen:
            directories.clear()
            continue
        seen.add(real)
        place = pathlib.Path(parent)
        if place != folder:
            folders.append(place)
        for name in (*directories, *names):
            if why := _why_passed(name):
                passed[why].append((place / name).relative_to(folder).as_posix())
        directories[:] = sorted(name for name in directories if not _why_passed(name))
        files += [place / name for name in names if not _why_passed(name)]
    return Walk(tuple(sorted(files)), tuple(sorted(folders)), dict(passed))


def listed(what: str, names: Sequence[str], shown: Callable[[str], str] = str) -> str:
    """A count with the first names as `shown` gives them; "(s)" in `what` becomes "s" where there are several.

    Example:
      >>> listed("note(s)", ["c.txt", "a.txt", "b.txt"]), listed("note(s)", ["a.txt"])
      ('3 notes (a.txt, b.txt, ...)', '1 note (a.txt)')
    """
    what = what.replace("(s)", "" if len(names) == 1 else "s")
    more = ", ..." if len(names) > 2 else ""
    return f"{len(names)} {what} ({', '.join(map(shown, sorted(names)[:2]))}{more})"


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}), expected a readable folder") from error


def _why_passed(name: str) -> str | None:
    """Why a name is passed over, or None."""
    if name.startswith("."):
        return "hidden"
    if _SYSTEM.fullmatch(name):
        return "of the operating system"
    return "left by other programs" if _LITTER.fullmatch(name) else None
