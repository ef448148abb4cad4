"""What long work says about itself while it runs."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`; total is 0 where it is not known."""
