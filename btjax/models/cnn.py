"""The paper's convolutional network (section 4.2; Figures 15 and 16; Table 1)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from btjax.base.errors import InputError
from btjax.base.options import option
from btjax.nn.chain import run_chain
from btjax.nn.convolution import conv_general_dilated
from btjax.nn.pooling import max_pool


class CNN(nn.Module):
    """Convolutions with ReLU and 2x2 max pooling, then Flatten, Dense, dropout and the logits.

    The defaults are the paper's: "64 in the first layer, 256 in the second layer, 512 in the 3rd layer and 1024 in
    the last four layers", read as three convolutions and the dense layer, since six layers are convolutions. Kernel
    size and padding, the places of the pools and the width of the dense layer are not in its text; kernels start as
    Keras's Glorot uniform, biases at zero.
    """

    widths: tuple[int, ...] = option(
        (64, 256, 512, 1024, 1024, 1024), "filters of each convolution", minimum=1, maximum=65_536
    )
    kernel_size: int = option(3, "side of the convolutions' kernels, in pixels", minimum=1, maximum=63)
    padding: str = option("same", "convolutions' padding: same, or valid (Keras's default)", choices=("same", "valid"))
    pools: int = option(6, "how many of the convolutions, from the first on, a 2x2 max pool follows", minimum=0)
    dense: int = option(1024, "units of the first dense layer", minimum=1)
    dropout: float = option(
        0.1, "share of the first dense layer's outputs dropped in training", minimum=0, maximum=0.99
    )
    l2: float = option(0.001, "weight of the squared first dense kernel in the loss", minimum=0)
    dtype: str = option("float32", "type of the arithmetic; parameters stay float32", choices=("float32", "bfloat16"))
    classes: int = 3
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    composite = ()
    """Names of the layers that are more than one affine layer and the activation."""

    frozen = ()
    """Names of the sub-trees of `params` that training must not move."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the chain's layers, in order; a convolution's output is taken after its activation."""
        names = []
        for index in range(1, len(self.widths) + 1):
            names += [f"conv_{index}"] + [f"pool_{index}"] * (index <= self.pools)
        return (*names, "flatten", "dense", "logits")

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
        """The class logits.

        Args:
          inputs: float32 [B, S, S, channels]; with `start`, that layer's output.
          train: whether dropout is live; it then needs the random stream "dropout".
          counted: bool [B], as in `btjax.nn.network`; without effect, since no layer looks across the batch.
          start: the layer, of `layers`, after which to begin.
          stop: the layer whose output to return instead of the logits.

        Returns:
          float32 [B, classes]; with `stop`, that layer's output.
        """
        del counted

        def dense(hidden):
            hidden = nn.Dense(self.dense, name="dense", dtype=self.dtype, kernel_init=glorot)(hidden)
            return nn.Dropout(self.dropout, deterministic=not train)(self.activation(hidden))

        def logits(hidden):
            hidden = nn.Dense(self.classes, name="logits", dtype=self.dtype, kernel_init=glorot)(hidden)
            return hidden.astype(jnp.float32)

        glorot = nn.initializers.glorot_uniform()
        rest = {"pool": max_pool, "flatten": lambda hidden: hidden.reshape(hidden.shape[0], -1)}
        rest |= {"dense": dense, "logits": logits}
        chain = [(name, rest.get(name.split("_")[0]) or self._convolution(name)) for name in self.layers]
        return run_chain(chain, inputs.astype(self.dtype), start, stop)

    def _convolution(self, name: str) -> Callable[[jax.Array], jax.Array]:
        def convolution(hidden):
            layer = nn.Conv(
                self.widths[int(name.split("_")[1]) - 1],
                (self.kernel_size, self.kernel_size),
                name=name,
                dtype=self.dtype,
                padding=self.padding.upper(),
                kernel_init=nn.initializers.glorot_uniform(),
                conv_general_dilated=conv_general_dilated,
            )
            return self.activation(layer(hidden))

        return convolution

    def check(self, image_size: int) -> None:
        """Raises InputError where slices of `image_size` pixels do not last through the layers."""
        if self.pools > len(self.widths):
            raise InputError(f"--pools={self.pools}: expected at most {len(self.widths)}, the number of --widths")
        size = image_size
        for index in range(len(self.widths)):
            size = size if self.padding == "same" else size - self.kernel_size + 1
            size = size // 2 if index < self.pools else size
            if size < 1:
                raise InputError(
                    f"--image_size={image_size}: nothing is left after {index + 1} of the convolutions and pools; "
                    "expected larger slices, or fewer --widths or --pools"
                )

    def penalty(self, params: dict) -> jax.Array:
        """The L2 term of the loss: `l2` times the sum of squares of the first dense kernel, float32 scalar."""
        return self.l2 * jnp.sum(jnp.square(params["dense"]["kernel"]))
