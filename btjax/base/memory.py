"""How much memory there is."""

from __future__ import annotations

import os
import pathlib

_GROUPS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_memory(root: pathlib.Path = pathlib.Path("/")) -> int:
    """Bytes of memory of this machine, or of the container that this process runs in.

    Args:
      root: the folder in which sys lies.

    Returns:
      The least of both; where the system does not tell, 2**63 - 1.
    """
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):
        found = []
    for name in _GROUPS:
        try:
            text = (root / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        found += [int(text)] if text.isdecimal() else []
    return min((size for size in found if size > 0), default=2**63 - 1)
