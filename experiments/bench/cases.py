"""What is measured: the models, their sizes, the floating-point operations that each takes, and the forms compared."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from btjax.models.unet import down_widths, halvings, up_widths
from btjax.models.vgg16 import CONVOLUTIONS

ROWS = 128
"""Slices in memory from which batches are taken."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One model at one size.

    Attributes:
      kind: `cnn` and `unet` are training steps, `vgg16` is a forward pass without dropout, `smooth_grad` and
        `integrated_gradients` are maps of a CNN's decisions from SAMPLES gradients each.
      image_size: side of the slices in pixels.
      channels: channels of the network's input, 1 or 3.
      batch_size: slices in a step.
      widths: filters of the CNN's convolutions; of the U-Net the first layer's alone.
      dense: units of the first dense layer of the CNN and of VGG16's head.
      dtype: type of the arithmetic; parameters stay float32.
      gpu_only: too long for a CPU.
    """

    kind: str
    image_size: int
    channels: int
    batch_size: int
    widths: tuple[int, ...] = ()
    dense: int = 0
    dtype: str = "float32"
    gpu_only: bool = False

    @staticmethod
    def from_json(values: dict) -> Case:
        """Reads what `dataclasses.asdict` and JSON made of a case."""
        return Case(**values | {"widths": tuple(values["widths"])})


SAMPLES = 32
"""Noisy copies of SmoothGrad, steps of integrated gradients."""

_PAPER = (64, 256, 512, 1024, 1024, 1024)
_SMALL = (16, 32, 64, 128, 256, 256)

CASES = {
    "small": Case("cnn", 128, 1, 32, _SMALL, 256),
    "paper64": Case("cnn", 64, 3, 32, _PAPER, 1024),
    "paper128": Case("cnn", 128, 3, 16, _PAPER, 1024),
    "paper512": Case("cnn", 512, 3, 32, _PAPER, 1024, "bfloat16", gpu_only=True),
    "vgg16": Case("vgg16", 224, 3, 16, dense=128),
    "unet_small": Case("unet", 128, 3, 16, (32,)),
    "unet128": Case("unet", 128, 3, 16, (64,)),
    "smooth_grad": Case("smooth_grad", 128, 1, 64, _SMALL, 256),
    "integrated_gradients": Case("integrated_gradients", 128, 1, 64, _SMALL, 256),
}
"""The models that btjax, PyTorch and Keras run in turns."""

_FLOAT32_FORMS = ("btjax", "torch_eager", "torch_channels_last", "torch_compile", "keras_jax", "keras_torch")
_SALIENCY_FORMS = ("btjax", "captum_eager", "captum_channels_last")
_BFLOAT16_FORMS = ("btjax", "torch_channels_last", "torch_compile", "keras_jax", "keras_torch")
BFLOAT16 = "_bfloat16"
"""The suffix of a form that computes in bfloat16 what the case asks for in float32."""

SALIENCY = ("smooth_grad", "integrated_gradients")
"""Kinds of cases whose peer is captum."""

FORMS = (*_FLOAT32_FORMS, *_SALIENCY_FORMS[1:], *(form + BFLOAT16 for form in _BFLOAT16_FORMS))
"""Every way of running a model: framework, variant, and with the suffix in bfloat16."""


def forms_of(case: Case, platform: str) -> list[str]:
    """The forms in which a case is measured on `platform` (`cpu` or `gpu`); bfloat16 beside float32 on a GPU alone."""
    if case.kind in SALIENCY:
        return list(_SALIENCY_FORMS)
    bfloat16 = platform == "gpu" and case.dtype == "float32"
    return [*_FLOAT32_FORMS, *(form + BFLOAT16 for form in _BFLOAT16_FORMS if bfloat16)]


def reference_form(form: str) -> str:
    """The form of btjax with the same arithmetic: what a form's time is divided by."""
    return "btjax" + BFLOAT16 * form.endswith(BFLOAT16)


def dtype_of(case: Case, form: str) -> str:
    """`float32` or `bfloat16`."""
    return "bfloat16" if form.endswith(BFLOAT16) else case.dtype


def flops(case: Case) -> float:
    """Floating-point operations for one image: 2 per multiply-add of convolutions and dense layers.

    Taps that fall on padding count. A layer's backward pass takes twice its forward pass, once for the kernel and once
    for its input, which layers on the image do not need. The frozen `location` has no backward pass. What Winograd's
    convolution saves is counted as done: with it a rate may exceed that of plain matrix products.
    """
    if case.kind in SALIENCY:
        # A forward pass and the gradient by each layer's input, for every sample.
        return 2.0 * sum(2 * products for products, _ in _cnn_layers(case)) * SAMPLES
    layers = {"cnn": _cnn_layers, "vgg16": _vgg16_layers, "unet": _unet_layers}[case.kind](case)
    if case.kind == "vgg16":
        return 2.0 * sum(products for products, _ in layers)
    return 2.0 * sum(products * passes for products, passes in layers)


def _cnn_layers(case: Case) -> list[tuple[int, int]]:
    """Multiply-adds of each layer's forward pass for one image, and how often a training step takes them."""
    size, channels, layers = case.image_size, case.channels, []
    for width in case.widths:
        layers.append((9 * channels * width * size**2, 3 if layers else 2))
        size, channels = size // 2, width
    return [*layers, (case.dense * channels * size**2, 3), (case.dense * 3, 3)]


def _vgg16_layers(case: Case) -> list[tuple[int, int]]:
    size, channels, layers = case.image_size, case.channels, []
    for name, width in CONVOLUTIONS.items():
        if name.endswith("conv1") and layers:
            size //= 2
        layers.append((9 * channels * width * size**2, 3))
        channels = width
    return [*layers, (channels * (size // 2) ** 2 * case.dense, 3), (case.dense * 3, 3)]


def _unet_layers(case: Case) -> list[tuple[int, int]]:
    size, channels, layers = case.image_size, case.channels, []
    levels, (width,) = halvings(size), case.widths
    for features in down_widths(width, levels):
        size //= 2
        layers.append((9 * channels * features * size**2, 3 if layers else 2))
        channels = features
    layers.append((channels**2, 3))
    for features in (*up_widths(width, levels), 3):
        layers.append((9 * channels * features * size**2, 3))
        size, channels = size * 2, features
    return [*layers, (case.channels * size**2, 1), (9 * 4 * 3 * size**2, 3)]


def random_slices(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [ROWS, S, S] and labels int32 [ROWS]: time does not depend on what the pixels are."""
    random = np.random.default_rng(0)
    size = case.image_size
    return random.integers(0, 256, (ROWS, size, size)).astype(np.uint8), random.integers(0, 3, ROWS).astype(np.int32)


def random_inputs(case: Case) -> np.ndarray:
    """float32 [B, S, S, channels] in [-1, 1], what a forward pass is given."""
    shape = (case.batch_size, case.image_size, case.image_size, case.channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def batches(case: Case, steps: int) -> list[np.ndarray]:
    """Rows int64 [B] of `steps` batches that go round and round the slices."""
    return list((np.arange(steps * case.batch_size) % ROWS).reshape(steps, case.batch_size))


def wide_layers(least: int = 512) -> dict[str, dict]:
    """The paper's convolutions with at least `least` filters, on the maps that they meet in `paper64` and `paper128`.

    Returns:
      By name, such as paper64/conv_3: `image` [B, S, S, C] and `kernel` [3, 3, C, O].
    """
    layers = {}
    for name in ("paper64", "paper128"):
        case = CASES[name]
        for index in range(1, len(case.widths)):
            inputs, features, size = case.widths[index - 1], case.widths[index], case.image_size // 2**index
            if features >= least:
                shapes = {"image": [case.batch_size, size, size, inputs], "kernel": [3, 3, inputs, features]}
                layers[f"{name}/conv_{index + 1}"] = shapes
    return layers


PIECES = ("forward", "image_gradient", "kernel_gradient")
"""The three products of a convolution."""


def layer_flops(layer: dict) -> float:
    """Operations of a wide layer's forward pass on its batch, and of each of its two gradients."""
    return 2.0 * math.prod(layer["image"]) * math.prod(layer["kernel"]) / layer["image"][3]
