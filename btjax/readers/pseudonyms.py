"""Pseudonyms of patients: a patient id reaches no file, table or page as it stands in a header.

A pseudonym is a keyed hash (HMAC-SHA256) of the id. The key is a secret of the user's: without it nobody can find an
id by hashing all that there might be, with it the same id gives the same pseudonym in every folder and run. It is
$BTJAX_SALT where that is set, else a file that is made once in the cache folder and that only its owner may read.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from typing import TYPE_CHECKING

from btjax.base.errors import InputError, foreign
from btjax.base.files import CACHE_EXPECTED, cache_folder, make_cache, only_process, write_whole

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable

SALT_VARIABLE = "BTJAX_SALT"
SALT_FILE = "patients.salt"

NO_PATIENT = re.compile(
    r"<?na(n|t)?>?|#?n/a|none|null|nil|unknown|undefined|missing|not available|not known|tbd|anon(ymous|ymi[sz]ed)?|"
    r"\?+|-+",
    re.IGNORECASE,
)
"""Words that stand for "not known" as a whole id of a patient: taken as an id they would make one patient of many."""

NO_PATIENT_NUMBER = re.compile(r"(0+|-1|-9+)(\.0+)?")
"""Numbers that mean the same in many files, and may be a patient's in others."""

_SHORTEST = 16


def read_salt(cache_dir: str | os.PathLike | None = None) -> bytes:
    """The user's secret: $BTJAX_SALT, else the file patients.salt of the cache folder, which is made if it is missing.

    Args:
      cache_dir: see `btjax.base.files.cache_folder`.

    Raises:
      InputError: the secret is shorter than 16 characters, or the cache cannot be written.
    """
    given = os.environ.get(SALT_VARIABLE)
    if given is not None:
        return _long_enough(given.encode(), f"${SALT_VARIABLE}")
    cache = cache_folder(cache_dir)
    path = cache / SALT_FILE
    make_cache(cache)
    with foreign(f"{cache}: the secret of patients' pseudonyms cannot be kept there", CACHE_EXPECTED):
        if not path.exists():
            with only_process(cache / f"{SALT_FILE}.lock"):
                if not path.exists():
                    write_whole(path, _write_secret)
        return _long_enough(path.read_bytes().strip(), str(path))


def pseudonym(text: str, salt: bytes) -> str:
    """16 hexadecimal digits that stand for a text under a secret.

    Example:
      >>> pseudonym("MR040240", b"a secret of the user's")
      'ee1de7c389c97813'
    """
    return hmac.new(salt, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]


def without_names(path: pathlib.PurePath, names: Iterable[str], salt: bytes) -> pathlib.PurePath:
    """A path in which every folder or file called after a patient has a pseudonym.

    Args:
      path: a path relative to the data folder.
      names: the patient's id and the parts of the patient's name, as a header has them. A part of the path is called
        after the patient if it contains one of them (one of less than 4 letters: as a whole word).
      salt: the secret.

    Example:
      >>> import pathlib
      >>> without_names(pathlib.PurePosixPath("glioma/DOE_JANE/t1"), ("Doe", "Jane"), b"a secret").as_posix()
      'glioma/2b9341a8c698abd4/t1'
    """
    told = {name.casefold() for name in names if name}

    def is_told(part: str) -> bool:
        folded = part.casefold()
        words = set(re.split(r"[\W_]+", folded))
        return any(name == folded or name in words or (len(name) > 3 and name in folded) for name in told)

    return type(path)(*(pseudonym(part, salt) if is_told(part) else part for part in path.parts))


def _write_secret(path: pathlib.Path) -> None:
    """Writes a new secret into a file that only its owner may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def _long_enough(salt: bytes, where: str) -> bytes:
    if len(salt) < _SHORTEST:
        raise InputError(f"{where}: found a secret of {len(salt)} characters, expected at least {_SHORTEST}")
    return salt
