"""The examples in the docstrings."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["builder", "imbalance", "notes", "phantom", "splits"])
def test_the_examples_run(name):
    results = doctest.testmod(importlib.import_module(f"btjax.data.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
