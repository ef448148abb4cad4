"""Flax's transposed convolution over `btjax.nn.convolution.conv_transpose`, for which Flax has no hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from btjax.nn.convolution import conv_transpose


class ConvTranspose(nn.Module):
    """`flax.linen.ConvTranspose` of images with "SAME" padding, through `btjax.nn.convolution.conv_transpose`.

    Parameters, initialisers and outputs are Flax's: `kernel` float32 [h, w, C, features] and `bias` float32
    [features]. Keras keeps such a kernel upside down, back to front and with its channels swapped.

    Attributes:
      features: channels of the output.
      kernel_size: the kernel's height and width.
      strides: how much larger the output is, by axis.
      use_bias: whether a bias is added.
      dtype: type of the arithmetic; None for that of inputs and parameters.
      kernel_init: the kernel's initialiser.
      bias_init: the bias's initialiser.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """The transposed convolution.

        Args:
          inputs: float [N, H, W, C].

        Returns:
          `dtype` [N, H * strides[0], W * strides[1], features].
        """
        shape = (*self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = conv_transpose(inputs, kernel, self.strides, "SAME")
        return outputs if bias is None else outputs + bias.reshape(1, 1, 1, -1)
