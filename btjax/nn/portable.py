"""The plain form of the networks' own operations, for exporters that know nothing but what JAX itself has."""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORTABLE = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Within it convolution and pooling are traced as JAX's own, without custom gradients or choices by platform.

    The outputs are the same up to rounding. It acts while a function is traced: make a fresh function within it, since
    one that was traced before stays as it was.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from btjax.nn.pooling import max_pool
      >>> with portable():
      ...     "custom_vjp" in str(jax.make_jaxpr(lambda x: max_pool(x))(jnp.zeros((1, 4, 4, 1))))
      False
    """
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def is_portable() -> bool:
    """Whether `portable` is in force."""
    return _PORTABLE.get()
