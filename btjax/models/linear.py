"""A linear classifier: the logits are weighted sums of the pixels of a small copy of the slice."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.nn.chain import run_chain


class Linear(nn.Module):
    """Multinomial logistic regression on pixels: what can be told without any shape being learnt.

    Input [N, S, S, C]; it is averaged over squares to [N, side, side, C]. Output [N, classes] logits.

    Example:
      >>> network = Linear(side=8)
      >>> variables = network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
      >>> variables["params"]["logits"]["kernel"].shape
      (64, 3)
    """

    side: int = option(32, "side in pixels of the copy that is classified; must divide the image size", minimum=1)
    l2: float = option(0.001, "weight of the penalty: the sum of the squared weights", minimum=0)
    classes: int = 3
    activation: Any = nn.relu
    layers = ("pool", "flatten", "logits")
    composite = ()
    frozen = ()

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        *,
        train: bool = False,
        counted: jax.Array | None = None,
        start: str | None = None,
        stop: str | None = None,
    ) -> jax.Array:
        """Logits, or the output of the stage `stop`; see `btjax.nn.network.Network`."""
        del train, counted

        def pool(images: jax.Array) -> jax.Array:
            window = (images.shape[1] // self.side,) * 2
            return nn.avg_pool(images, window, strides=window)

        stages = [
            ("pool", pool),
            ("flatten", lambda hidden: hidden.reshape(hidden.shape[0], -1)),
            ("logits", lambda hidden: nn.Dense(self.classes, name="logits")(hidden)),
        ]
        return run_chain(stages, inputs, start, stop)

    def check(self, image_size: int) -> None:
        """Raises InputError where `side` does not divide the image size."""
        if image_size % self.side:
            raise InputError(f"--side={self.side}: expected a divisor of --image_size={image_size}")

    def penalty(self, params: dict[str, Any]) -> jax.Array:
        """The sum of the squared weights times `l2`."""
        return jnp.float32(self.l2) * jnp.sum(jnp.square(params["logits"]["kernel"]))
