"""Which machine a bench runs on: figures of another processor are kept in another file."""

from __future__ import annotations

import os
import pathlib
import platform
import re
from typing import Any

INSTRUCTION_SETS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimdhp", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
"""The vector and matrix instructions that are told, as Linux names them."""


def machine(root: pathlib.Path = pathlib.Path("/")) -> dict[str, Any]:
    """The processor of this machine, from what Linux says in /proc and /sys; elsewhere what Python knows of it.

    Args:
      root: the folder in which proc and sys lie.

    Returns:
      JSON values: `processor`, its model's name, with family and number since virtual machines often leave the rest
      out of the name; `cores`, those that this process may use; `caches`, the size of each as text, such as
      {"L2": "1024K"}; `instruction_sets`, of INSTRUCTION_SETS; `system`.
    """
    told = _first_block(root / "proc" / "cpuinfo")
    name = told.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {told[key]}" for key in ("cpu family", "model") if key in told]
    flags = set((told.get("flags") or told.get("Features") or "").split())
    return {
        "processor": name + (f" ({', '.join(numbers)})" if numbers else ""),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "caches": _caches(root / "sys" / "devices" / "system" / "cpu" / "cpu0" / "cache"),
        "instruction_sets": [flag for flag in INSTRUCTION_SETS if flag in flags],
        "system": f"{platform.system()}, {platform.machine()}",
    }


def slug(name: str) -> str:
    """A name in the letters of a file's name.

    Example:
      >>> slug("AMD EPYC (family 25, model 17)")
      'amd-epyc-family-25-model-17'
    """
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", " ", name.lower())).strip("-")


def described(machine: dict[str, Any]) -> str:
    """One line on a machine: what `machine` returned, or as much of it as was recorded."""
    caches = ", ".join(f"{level} {size}" for level, size in machine.get("caches", {}).items())
    parts = (
        machine["processor"],
        f"{machine['cores']} cores" if "cores" in machine else "",
        f"caches {caches}" if caches else "",
        " ".join(machine.get("instruction_sets", [])),
        machine.get("system", ""),
    )
    return "; ".join(filter(None, parts))


def _first_block(path: pathlib.Path) -> dict[str, str]:
    """The lines `name : value` of a file up to its first empty one; none where there is no such file."""
    try:
        block = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in block.splitlines())}


def _caches(folder: pathlib.Path) -> dict[str, str]:
    """The first core's caches by level; the first level's are of data and of instructions."""
    found = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        found[f"L{level}{'' if kind == 'Unified' else kind[0].lower()}"] = size
    return found
