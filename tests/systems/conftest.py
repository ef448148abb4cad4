import pytest


@pytest.fixture(autouse=True)
def training(standard_promotion):
    """Most of what is here trains."""
