"""Networks that are no plain chains of layers: residual with batch normalisation, and with two branches."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.nn.chain import run_chain


class Normalised(nn.Module):
    """A 3x3 convolution and batch normalisation that leaves padding out."""

    features: int

    @nn.compact
    def __call__(self, inputs, train, counted):
        hidden = nn.Conv(self.features, (3, 3), name="conv", use_bias=False)(inputs)
        mask = None if counted is None else counted[:, None, None, None]
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(hidden, mask=mask)


class Block(nn.Module):
    """Two normalised convolutions with a skip around them."""

    features: int
    activation: Callable

    @nn.compact
    def __call__(self, inputs, train, counted):
        hidden = self.activation(Normalised(self.features, name="first")(inputs, train, counted))
        return self.activation(inputs + Normalised(self.features, name="second")(hidden, train, counted))


class Branches(nn.Module):
    """A 1x1 and a 3x3 convolution side by side."""

    features: int
    activation: Callable

    @nn.compact
    def __call__(self, inputs):
        sides = [nn.Conv(self.features, (side, side), name=f"side_{side}")(inputs) for side in (1, 3)]
        return self.activation(jnp.concatenate(sides, axis=-1))


class _Network(nn.Module):
    classes: int = 3
    dtype: str = "float32"
    activation: Callable = nn.relu

    frozen: ClassVar[tuple[str, ...]] = ()

    @nn.compact
    def __call__(self, inputs, *, train=False, counted=None, start=None, stop=None):
        return run_chain(self.chain(train, counted), inputs, start, stop)

    def check(self, image_size):
        if image_size < 2:
            raise InputError(f"--image_size={image_size}: expected at least 2")

    def penalty(self, params):
        return jnp.float32(0)


class Residual(_Network):
    """A stem, a residual block and the logits."""

    layers: ClassVar[tuple[str, ...]] = ("stem", "block", "logits")
    composite: ClassVar[tuple[str, ...]] = ("block",)

    @property
    def rectifier(self):
        return self.activation

    def chain(self, train, counted) -> list[tuple[str, Any]]:
        return [
            ("stem", lambda hidden: self.rectifier(Normalised(4, name="stem")(hidden, train, counted))),
            ("block", lambda hidden: Block(4, self.rectifier, name="block")(hidden, train, counted)),
            ("logits", lambda hidden: nn.Dense(self.classes, name="logits")(hidden.mean(axis=(1, 2)))),
        ]


class Inception(_Network):
    """A stage of two branches; its output travels with the stage's input, which the next stage joins to it."""

    layers: ClassVar[tuple[str, ...]] = ("branches", "join", "logits")
    composite: ClassVar[tuple[str, ...]] = ("branches",)

    def chain(self, train, counted) -> list[tuple[str, Any]]:
        return [
            ("branches", lambda hidden: (Branches(2, self.activation, name="branches")(hidden), hidden)),
            ("join", lambda pair: jnp.concatenate(pair, axis=-1)),
            ("logits", lambda hidden: nn.Dense(self.classes, name="logits")(hidden.mean(axis=(1, 2)))),
        ]
