"""Networks that are chains of named layers: run whole, up to a layer, or on from one.

A classifier that is a chain can compute what lies below a layer once and for all (a feature cache), and be
differentiated by a layer's output (the class activation maps), without knowing any other trick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

Layer = tuple[str, Callable[[jax.Array], jax.Array]]


def run_chain(layers: Sequence[Layer], inputs: jax.Array, start: str | None = None, stop: str | None = None):
    """Runs the layers after `start` up to and including `stop`.

    Args:
      layers: (name, function) pairs in order, the names unique.
      inputs: the network's input, or the output of the layer `start`.
      start: the layer whose output `inputs` is; None for the network's input.
      stop: the layer whose output is wanted; None for the last.

    Returns:
      The output of `stop`; `inputs` itself where `start` and `stop` are one.

    Raises:
      ValueError: a name that is no layer's, or `stop` before `start`.
    """
    names = [name for name, _ in layers]
    for name in (start, stop):
        if name is not None and name not in names:
            raise ValueError(f"unknown layer {name!r}, expected one of {', '.join(names)}")
    first = 0 if start is None else names.index(start) + 1
    last = len(names) if stop is None else names.index(stop) + 1
    if last < first:
        raise ValueError(f"layer {stop!r} comes before layer {start!r}")
    for _, layer in layers[first:last]:
        inputs = layer(inputs)
    return inputs
