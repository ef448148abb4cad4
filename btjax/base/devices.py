"""The devices that JAX computes on."""

from __future__ import annotations

import os

import jax

from btjax.base.errors import foreign


def require_devices() -> None:
    """Asks JAX for its devices before anything long is begun.

    Raises:
      InputError: there are none of the platform that $JAX_PLATFORMS names, or their driver fails.
    """
    wanted = getattr(jax.config, "jax_platforms", "") or os.environ.get("JAX_PLATFORMS")
    asked = f"JAX_PLATFORMS={wanted}: JAX finds no such device" if wanted else "JAX finds no device"
    with foreign(asked, "a platform that is there; JAX_PLATFORMS=cpu always is"):
        jax.devices()
