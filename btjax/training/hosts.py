"""Several processes, on one host or many, that train one run together: how they join, and what they agree on.

Every process runs the same program on the same data; each batch is divided among all their devices, and XLA exchanges
the gradients. Whatever depends on a clock or a signal would differ between them, so they agree on it. Only the first
process writes files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from btjax.base.errors import InputError, foreign

if TYPE_CHECKING:
    from jax.sharding import NamedSharding

AUTO = "auto"


def join(coordinator: str, processes: int = 0, process: int = 0, *, timeout: int = 300) -> None:
    """Makes this process one of several; call it before anything asks JAX for a device.

    Args:
      coordinator: HOST:PORT of the first process, or "auto" where Slurm, Open MPI or a cloud's environment tells it.
      processes: how many there are; not needed with "auto".
      process: which one this is, from 0; not needed with "auto".
      timeout: seconds to wait for the others.

    Raises:
      InputError: numbers that do not fit, or a coordinator that does not answer.
    """
    known = {}
    if coordinator != AUTO:
        if not 0 <= process < processes:
            raise InputError(
                f"--processes={processes}, --process={process}: expected --process from 0 to processes - 1"
            )
        known = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
    with foreign(f"--coordinator={coordinator}: could not join"):
        # A process that fails waits for the others when it ends, and they wait for it: keep that short.
        jax.distributed.initialize(**known, initialization_timeout=timeout, shutdown_timeout_seconds=30)


def leads() -> bool:
    """Whether this process is the first: the one that writes files and reports."""
    return jax.process_index() == 0


def agree(*values: int) -> list[int]:
    """The largest of each value over all processes, the same in each: int32, at least 0."""
    if jax.process_count() == 1:
        return list(values)
    return multihost_utils.process_allgather(np.array(values, np.int32)).reshape(-1, len(values)).max(axis=0).tolist()


def replicate(tree: Any, sharding: NamedSharding) -> Any:
    """Puts arrays that every process has whole on all devices of a sharding, including those of other processes."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            numbers = jax.device_put(np.asarray(jax.random.key_data(leaf)), sharding)
            return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
        return jax.device_put(np.asarray(leaf), sharding)

    return jax.tree.map(put, tree)
