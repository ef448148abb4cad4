"""What a command's process keeps: the memory that it freed."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from btjax.base import devices
from btjax.base.devices import COMPILED_SECONDS

FAULTS = """
import ctypes, resource, sys
from btjax.base.devices import keep_freed_memory

assert sys.argv[1] != "kept" or keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def use():
    block = libc.malloc(48 << 20)
    ctypes.memset(block, 1, 48 << 20)
    libc.free(block)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kind):
    """How often eight uses of a block of 48 MiB asked the system for memory, after the first use."""
    others = ("MALLOC_", "GLIBC_", "LD_PRELOAD")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    command = [sys.executable, "-c", FAULTS, kind]
    return int(subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout)


def glibc():
    """The version of glibc; (0, 0) for other C libraries."""
    name, version = platform.libc_ver()
    return tuple(map(int, version.split(".")[:2])) if name == "glibc" else (0, 0)


@pytest.mark.skipif(glibc() < (2, 36), reason="needs a glibc that is known to keep blocks of more than 32 MiB")
def test_memory_that_was_freed_is_not_asked_for_again():
    assert page_faults("kept") < page_faults("as glibc has it") / 8


def test_other_c_libraries_and_a_users_own_settings_are_left_alone(monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: pytest.fail("asked the C library"))
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    for name, value in (("GLIBC_TUNABLES", "glibc.malloc.top_pad=1"), ("MALLOC_TOP_PAD_", "1")):
        with monkeypatch.context() as own:
            own.setenv(name, value)
            assert devices.keep_freed_memory() is False
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert devices.keep_freed_memory() is False


def test_an_older_glibc_keeps_what_it_admits_or_is_left_as_it_is(monkeypatch):
    """Its largest threshold is 32 MiB; setting anything else without one would have every block given back."""
    for most, expected in ((256 << 20, [(-3, 256)]), (32 << 20, [(-3, 256), (-3, 32)]), (0, [(-3, 256), (-3, 32)])):
        asked = []

        def mallopt(name, size, most=most, asked=asked):
            asked.append((name, size >> 20))
            return name != -3 or size <= most

        monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
        monkeypatch.setattr(devices.ctypes, "CDLL", lambda name, mallopt=mallopt: SimpleNamespace(mallopt=mallopt))
        for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
            monkeypatch.delenv(name)
        assert devices.keep_freed_memory() is bool(most)
        assert asked == expected + ([(-1, 1024), (-2, 256)] if most else [])


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
