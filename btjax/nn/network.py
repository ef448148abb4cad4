"""What btjax asks of a network: the protocol `Network`, and `check_network`, which verifies that a module keeps it.

A network is a Flax module that is a composition of named stages. A stage may hold anything inside: one layer, a
residual block, an inception block, a whole level of an encoder-decoder. Whatever needs a network cut open (a feature
cache, class activation maps, layer-wise relevance propagation, freezing) cuts it between stages and nowhere else.

`btjax.nn.chain.run_chain` is the way to write one: a list of (name, function) pairs.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Variables = dict[str, Any]
"""{"params": ..., "batch_stats": ...}: nested dicts of arrays whose top-level names are stages."""

_MEMBERS = ("layers", "activation", "composite", "frozen", "penalty", "check", "init", "apply", "clone")
_ROWS = 4  # two that count and two of padding


class _Fault(Exception):
    """What a network raised where it is run, in one line."""


class Network(Protocol):
    """A Flax module that is a composition of named stages."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The stages' names, in order. Every top-level name in every variable collection is one of them."""
        ...

    @property
    def activation(self) -> Callable[[jax.Array], jax.Array]:
        """The network's rectifier: a field, which `clone(activation=...)` replaces."""
        ...

    @property
    def composite(self) -> tuple[str, ...]:
        """The stages that are more than one affine layer and the activation, such as a residual block.

        Convolution and batch normalisation together count as one affine layer, which they are in inference.
        """
        ...

    @property
    def frozen(self) -> tuple[str, ...]:
        """The sub-trees of `params` that never train, as paths such as `location` or `stem/conv`."""
        ...

    def init(self, rngs: Any, inputs: Any, /) -> Any:
        """Fresh variables for inputs [B, S, S, channels], by `flax.linen.Module.init`."""
        ...

    def apply(
        self,
        variables: Any,
        inputs: Any,
        /,
        *,
        train: bool = False,
        counted: Any = None,
        start: str | None = None,
        stop: str | None = None,
        **settings: Any,
    ) -> Any:
        """Runs the stages after `start` up to and including `stop`, by `flax.linen.Module.apply`.

        Args:
          variables: those of the stages that run; others are not looked at.
          inputs: float32 [B, S, S, channels], or the output of the stage `start`.
          train: whether dropout is live (it needs the random stream "dropout") and batch normalisation uses the
            batch's own statistics (and updates the running ones where "batch_stats" is mutable).
          counted: bool [B], False for the rows of the batch that are padding, which batch normalisation leaves out of
            its statistics; None where every row counts.
          start: the stage whose output `inputs` is; None for the network's input.
          stop: the stage whose output is wanted; None for the last.
          settings: Flax's own: `rngs`, `mutable`.

        Returns:
          The output of `stop`: one array, or a tuple of the stage's map and of what travels beside it (skips). The last
          stage's is one array: logits float32 [B, classes].
        """
        ...

    def clone(self, **updates: Any) -> Self:
        """The same network with other values in some fields."""
        ...

    def check(self, image_size: int) -> None:
        """Raises InputError where the network cannot take slices of `image_size` pixels."""
        ...

    def penalty(self, params: Any) -> jax.Array:
        """The network's own term of the loss, float32 scalar; `params` are those of all stages."""
        ...


def check_network(model: Any, image_size: int, channels: int) -> None:
    """Verifies that a module keeps the protocol `Network`, on random variables and inputs.

    Args:
      model: the module.
      image_size: S, a size that the network takes; small ones make the check fast.
      channels: of the inputs.

    Raises:
      ValueError: the promises that are broken, by name, one a line.

    Example:
      >>> from btjax.models.cnn import CNN
      >>> check_network(CNN(widths=(2, 4), pools=2, dense=8), image_size=8, channels=1)
    """
    broken = [f"{name}: missing" for name in _MEMBERS if not hasattr(model, name)] or _broken(
        model, image_size, channels
    )
    if broken:
        raise ValueError("\n  ".join([f"{type(model).__name__} does not keep the protocol of a network:", *broken]))


def _broken(model: Any, image_size: int, channels: int) -> list[str]:
    """The broken promises of a module that has every member; a check is left out where an earlier one fails."""
    inputs = jax.random.uniform(jax.random.key(0), (_ROWS, image_size, image_size, channels))
    broken = [*_broken_calls(model, inputs)]
    if not broken:
        variables = _random_variables(model, inputs)
        broken = [*_broken_names(model, variables)]
        for promise in (_broken_stages, _broken_training, _broken_activation):
            broken = broken or [*promise(model, variables, inputs)]
    return broken


def _broken_calls(model: Any, inputs: jax.Array) -> Iterator[str]:
    """Whether `check`, `init` and `penalty` can be called."""
    name = "check"
    try:
        model.check(inputs.shape[1])
        name = "init"
        variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
        name = "penalty"
        penalty = jax.eval_shape(model.penalty, variables["params"])
        if jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), penalty) != ((), jnp.float32):
            yield f"penalty: found {penalty}, expected a float32 scalar"
    except Exception as error:
        yield f"{name}: {_told(error)}"


def _broken_names(model: Any, variables: Variables) -> Iterator[str]:
    """Whether variables are named as the stages are, and whether what `composite` and `frozen` name exists."""
    layers = model.layers
    if len(set(layers)) != len(layers) or not layers:
        yield f"layers: found {layers}, expected the stages' names, each once"
    for collection, tree in variables.items():
        for name in tree.keys() - set(layers):
            yield f"layers: {collection}/{name} is no stage's, expected one of {', '.join(layers)}"
    for name in model.composite:
        if name not in layers:
            yield f"composite: {name!r} is no stage, expected one of {', '.join(layers)}"
    for path in model.frozen:
        if not _holds(variables["params"], path):
            yield f"frozen: params have no {path!r}"
    for name, tree in variables["params"].items():
        kernels = [path for path in traverse_util.flatten_dict({name: tree}) if path[-1] == "kernel"]
        if len(kernels) > 1 and name not in model.composite:
            yield f"composite: the stage {name!r} has {len(kernels)} kernels and is not named"


def _broken_stages(model: Any, variables: Variables, inputs: jax.Array) -> Iterator[str]:
    """Whether the network is the composition of its stages at every cut, each part with its own variables alone."""

    def part(names, hidden, start=None, stop=None):
        known = {
            collection: {name: tree[name] for name in names if name in tree} for collection, tree in variables.items()
        }
        try:
            return model.apply(known, hidden, start=start, stop=stop)
        except Exception as error:
            raise _Fault(f"start={start!r}, stop={stop!r}: {_told(error)}") from error

    try:
        whole, hidden, start = part(model.layers, inputs), inputs, None
        if not isinstance(whole, jax.Array):
            yield f"stages: the last gives a {type(whole).__name__}, expected one array"
        for place, stop in enumerate(model.layers, 1):
            hidden = part((stop,), hidden, start, stop)
            if not _close(part(model.layers[:place], inputs, None, stop), hidden):
                yield f"stages: stop={stop!r} differs from the stages one by one"
            if place < len(model.layers) and not _close(part(model.layers[place:], hidden, stop), whole):
                yield f"stages: start={stop!r} differs from the whole network"
            start = stop
    except _Fault as fault:
        yield f"stages: {fault}"


def _broken_training(model: Any, variables: Variables, inputs: jax.Array) -> Iterator[str]:
    """Whether the network runs in training, and whether padding rows change nothing in the others."""
    counted, results = jnp.arange(_ROWS) < _ROWS // 2, []
    for padding in (0.0, 1.0):
        padded = jnp.where(counted[:, None, None, None], inputs, jnp.full_like(inputs, padding))
        settings = {"rngs": {"dropout": jax.random.key(1)}, "mutable": ["batch_stats"]}
        try:
            outputs, updated = model.apply(variables, padded, train=True, counted=counted, **settings)
        except Exception as error:
            yield f"train, counted: {_told(error)}"
            return
        results.append((outputs[counted], updated))
    if not _close(*results):
        yield "counted: rows that do not count change the outputs or the statistics of those that do"


def _broken_activation(model: Any, variables: Variables, inputs: jax.Array) -> Iterator[str]:
    """Whether the rectifier can be replaced, and whether that changes the output."""
    try:
        swapped = model.clone(activation=jnp.negative).apply(variables, inputs)
    except Exception as error:
        yield f"activation: {_told(error)}"
        return
    if _close(swapped, model.apply(variables, inputs)):
        yield "activation: another one gives the same output"


def _random_variables(model: Any, inputs: jax.Array) -> Variables:
    """Variables under which signals neither vanish nor explode and no statistic is that of a fresh network."""
    shapes, seeds = jax.eval_shape(model.init, jax.random.key(0), inputs), itertools.count()

    def draw(leaf):
        random = np.random.default_rng(next(seeds))
        spread = np.sqrt(2 / max(1, np.prod(leaf.shape[:-1])))
        values = random.normal(0, spread, leaf.shape) if len(leaf.shape) > 1 else random.uniform(0.5, 1.5, leaf.shape)
        return jnp.asarray(values, leaf.dtype)

    return {"params": {}} | jax.tree.map(draw, dict(shapes))


def _holds(params: Any, path: str) -> bool:
    """Whether nested dicts have a sub-tree (or leaf) at a path such as `stem/conv`."""
    for name in path.split("/"):
        if not isinstance(params, dict) or name not in params:
            return False
        params = params[name]
    return True


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).split(chr(10))[0]}"


def _close(first: Any, second: Any) -> bool:
    """Whether two trees of arrays have the same structure and, up to rounding, the same values."""
    if jax.tree.structure(first) != jax.tree.structure(second):
        return False

    def same(one, other):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        return one.shape == other.shape and np.abs(one - other).max() <= 1e-4 * max(1e-6, np.abs(other).max())

    return jax.tree.all(jax.tree.map(same, first, second))
