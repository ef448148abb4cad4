"""JSON objects that carry the checksum of their own content, so that a changed file is found when it is read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from btjax.base.errors import InputError

SEAL, _TIMES = "sha256", "seconds"
"""The key under which an object keeps the SHA-256 of everything else in it, and the key of measured times.

Times have a checksum of their own: the same results have the same checksum, however long they took.
"""


def sealed(values: Any) -> Any:
    """Plain JSON values of `values`; an object also gets its checksum. ValueError for a number that is not finite.

    Example:
      >>> quick, slow = (sealed({"accuracy": 0.5, "seconds": seconds}) for seconds in (1.0, 9.0))
      >>> quick["sha256"]["content"] == slow["sha256"]["content"], quick["sha256"] == slow["sha256"], sealed([1])
      (True, False, [1])
    """
    plain = json.loads(json.dumps(values, allow_nan=False))
    if not isinstance(plain, dict):
        return plain
    plain.pop(SEAL, None)
    return plain | {SEAL: _digests(plain)}


def unsealed(values: Any, path: object) -> Any:
    """The values without their checksum, which is compared; those without one are taken as they are.

    Args:
      values: of a JSON file.
      path: the file, for the error.

    Raises:
      InputError: they are not what was written.
    """
    if not isinstance(values, dict) or SEAL not in values:
        return values
    content = {name: value for name, value in values.items() if name != SEAL}
    if values[SEAL] != _digests(content):
        raise InputError(
            f"{path}: damaged, or changed by hand: its content is not what btjax wrote ({SEAL} differs); to have it "
            f"read all the same, take {SEAL!r} out of it"
        )
    return content


def _digests(values: dict[str, Any]) -> dict[str, str]:
    times = []

    def without_times(value: Any) -> Any:
        if isinstance(value, dict):
            times.extend([value[_TIMES]] if _TIMES in value else [])
            return {name: without_times(one) for name, one in sorted(value.items()) if name != _TIMES}
        return [without_times(one) for one in value] if isinstance(value, list) else value

    return {"content": _digest(without_times(values)), _TIMES: _digest(times)}


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
