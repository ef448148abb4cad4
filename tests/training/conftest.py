import jax
import pytest


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax raises a Python float to an integer step count, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield
