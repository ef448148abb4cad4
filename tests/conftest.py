"""What every test runs under: strict promotion, two CPU devices, and the real slices where they are at hand."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

REAL_SLICES = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "cheng"


@pytest.fixture(scope="session")
def real_slices_dir() -> pathlib.Path:
    """The folder of the 3064 real slices (images/, masks/, manifest.csv)."""
    if not (REAL_SLICES / "manifest.csv").exists():
        pytest.skip("the real slices are not on this machine")
    return REAL_SLICES
