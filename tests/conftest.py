"""What every test runs under: strict promotion, two CPU devices, and the real slices where they are at hand."""

import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Many tests compile the same programs: within a session each is compiled once.
jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp(prefix="btjax-tests-"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

ROOT = pathlib.Path(__file__).resolve().parents[1]
REAL_SLICES = pathlib.Path(os.environ.get("BTJAX_REAL_SLICES", ROOT.parent / "shared" / "data" / "cheng"))


@pytest.fixture(scope="session")
def real_slices_dir() -> pathlib.Path:
    """The folder of the 3064 real slices (images/, masks/, manifest.csv)."""
    if not (REAL_SLICES / "manifest.csv").exists():
        pytest.skip("no real slices: $BTJAX_REAL_SLICES names no folder with manifest.csv, images/ and masks/")
    return REAL_SLICES


@pytest.fixture(scope="session")
def torch():
    """PyTorch; scripts/test --parity installs it and sets BTJAX_PARITY, under which its absence is a failure."""
    try:
        import torch
    except ImportError:
        if "BTJAX_PARITY" in os.environ:
            raise
        pytest.skip("needs the extra `parity`: scripts/test --parity")
    return torch
