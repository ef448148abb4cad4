"""Chains of named layers: the way to write a network that can be run whole, up to a layer, or from one on.

What is asked of such a network is in `btjax.nn.network`. Cutting it serves the feature cache, which computes the frozen
layers' output once, and the class activation maps, which differentiate with respect to a layer's output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Layer = tuple[str, Callable[[Any], Any]]
"""A name and a function of the previous layer's output: an array, or a tuple with what travels beside the map."""


def run_chain(layers: Sequence[Layer], inputs: Any, start: str | None = None, stop: str | None = None) -> Any:
    """Runs the layers after `start` up to and including `stop`.

    Args:
      layers: (name, function) pairs in order, the names unique.
      inputs: the network's input, or the output of the layer `start`.
      start: the layer whose output `inputs` is; None for the network's input.
      stop: the layer whose output is wanted; None for the last.

    Returns:
      The output of `stop`; `inputs` itself where `start` and `stop` are the same layer.

    Raises:
      ValueError: an unknown name, or `stop` before `start`.

    Example:
      >>> layers = [("double", lambda x: 2 * x), ("increment", lambda x: x + 1)]
      >>> run_chain(layers, 3), run_chain(layers, 3, stop="double"), run_chain(layers, 6, start="double")
      (7, 6, 7)
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
