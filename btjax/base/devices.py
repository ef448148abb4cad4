"""The devices that JAX computes on, and the memory that it computes in."""

from __future__ import annotations

import ctypes
import os
import platform

import jax

from btjax.base.errors import foreign

COMPILED_SECONDS = 0.2
"""Commands keep programs that took at least this long to compile: saliency maps need many small ones."""

# The numbers of glibc's <malloc.h>, which glibc never changes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20
_OWN_SETTINGS = ("mmap_threshold", "trim_threshold", "top_pad", "mmap_max")


def keep_freed_memory() -> bool:
    """Lets this process keep memory that it freed, for the next program of JAX to compute in.

    glibc gives a large block back to the system when it is freed, and the system fills it with zeros, page by page,
    when it is asked for again. A compiled program's working memory is such a block: without this, a small network
    spends a good part of each pass on a CPU that way. Blocks of up to 256 MiB are kept (32 MiB where an older glibc
    admits no more). Larger ones go back as before, and so does what lies free at the end of the heap beyond 1 GiB;
    threads whose heap is not the main one keep less. Commands call this; whoever imports btjax decides for themselves.

    Returns:
      Whether it was done; False where the C library is not glibc or refuses, or where glibc's own environment variables
      say how memory is kept.

    Example:
      >>> keep_freed_memory() in (True, False)
      True
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    said = any(f"malloc.{name}" in tunables or f"MALLOC_{name.upper()}_" in os.environ for name in _OWN_SETTINGS)
    if said or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # First: any other setting alone would have every block above 128 KiB given back.
    if not (mallopt(_MMAP_THRESHOLD, 256 * _MIB) or mallopt(_MMAP_THRESHOLD, 32 * _MIB)):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 1024 * _MIB) and mallopt(_TOP_PAD, 256 * _MIB))


def require_devices() -> None:
    """Asks JAX for its devices before anything long is begun.

    Raises:
      InputError: there are none of the platform that $JAX_PLATFORMS names, or their driver fails.
    """
    wanted = getattr(jax.config, "jax_platforms", "") or os.environ.get("JAX_PLATFORMS")
    asked = f"JAX_PLATFORMS={wanted}: JAX finds no such device" if wanted else "JAX finds no device"
    with foreign(asked, "a platform that is there; JAX_PLATFORMS=cpu always is"):
        jax.devices()
