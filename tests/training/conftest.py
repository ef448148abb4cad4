import pytest


@pytest.fixture(autouse=True)
def training(standard_promotion):
    """Everything here trains."""
