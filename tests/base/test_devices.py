"""What a command's process keeps: the memory that it freed."""

import os
import platform
import subprocess
import sys

import pytest

from btjax.base.devices import COMPILED_SECONDS

FAULTS = """
import ctypes, resource, sys
from btjax.base.devices import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def use():
    block = libc.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kind):
    """How many pages eight uses of a block of 64 MiB asked the system for, after the first use."""
    return int(subprocess.run([sys.executable, "-c", FAULTS, kind], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose settings these are")
def test_memory_that_was_freed_is_not_asked_for_again():
    pages = (64 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert page_faults("kept") < pages / 10


def test_other_c_libraries_are_left_alone(monkeypatch):
    from btjax.base import devices

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert devices.keep_freed_memory() is False


def test_commands_keep_small_programs_unless_told_otherwise(monkeypatch, tmp_path):
    import jax

    from experiments import guard

    found = {}
    monkeypatch.setattr(jax.config, "update", found.__setitem__)
    monkeypatch.setattr(guard, "FLAGS", type("Flags", (), {"cache_dir": str(tmp_path)}))
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.delenv(name, raising=False)
    guard.keep_compiled()
    assert found == {
        "jax_compilation_cache_dir": str(tmp_path / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": COMPILED_SECONDS,
    }
    found.clear()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "5")
    guard.keep_compiled()
    assert found == {}
