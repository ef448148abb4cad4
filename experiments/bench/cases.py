"""What is measured: the models, their sizes and floating-point operations, and the forms that are compared."""

from __future__ import annotations

import dataclasses
import math

import msgspec
import numpy as np

from btjax.models.unet import down_widths, halvings, up_widths
from btjax.models.vgg16 import CONVOLUTIONS

ROWS = 128
"""Slices in memory; the batches are taken from these."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One model at one size.

    Attributes:
      kind: `cnn` and `unet` are training steps, `vgg16` is a forward pass without dropout, `smooth_grad` and
        `integrated_gradients` are maps of a CNN's decisions from SAMPLES gradients each.
      image_size: side of the slices in pixels.
      channels: channels of the network's input, 1 or 3.
      batch_size: slices in a step.
      widths: filters of the CNN's convolutions; for the U-Net, filters of its first layer.
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
        """The case whose `dataclasses.asdict` this is, also after a round trip through JSON."""
        return msgspec.convert(values, Case)


SAMPLES = 32
"""Number of noisy copies in SmoothGrad, and of steps in integrated gradients."""

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
"""The cases by name; the forms of each run in turns."""

_FLOAT32_FORMS = ("btjax", "torch_eager", "torch_channels_last", "torch_compile", "keras_jax", "keras_torch")
KEPT = "_kept"
"""The suffix of a form whose process keeps the memory that it freed, as the commands of btjax do on a CPU."""

_KEPT_FORMS = ("btjax", "torch_channels_last", "torch_compile")
_SALIENCY_FORMS = ("btjax", "captum_eager", "captum_channels_last")
_BFLOAT16_FORMS = ("btjax", "torch_channels_last", "torch_compile", "keras_jax", "keras_torch")
BFLOAT16 = "_bfloat16"
"""The suffix of a form that computes in bfloat16 although its case says float32."""

SALIENCY = ("smooth_grad", "integrated_gradients")
"""Kinds of cases that are compared with captum."""

SUFFIXES = ("", KEPT, BFLOAT16)
"""Forms are compared with those of the same suffix."""

FORMS = (
    *_FLOAT32_FORMS,
    *_SALIENCY_FORMS[1:],
    *(form + KEPT for form in _KEPT_FORMS),
    *(form + BFLOAT16 for form in _BFLOAT16_FORMS),
)
"""Every form: framework and variant, with a suffix where memory is kept, or where it computes in bfloat16."""


def forms_of(case: Case, platform: str) -> list[str]:
    """The forms in which a case is measured on `platform`, `cpu` or `gpu`.

    A CPU adds forms that keep memory, a GPU bfloat16 to float32.
    """
    if case.kind in SALIENCY:
        return list(_SALIENCY_FORMS)
    bfloat16 = platform == "gpu" and case.dtype == "float32"
    kept = [form + KEPT for form in _KEPT_FORMS if platform == "cpu"]
    return [*_FLOAT32_FORMS, *kept, *(form + BFLOAT16 for form in _BFLOAT16_FORMS if bfloat16)]


def suffix_of(form: str) -> str:
    """Which of SUFFIXES ends a form's name."""
    return next((suffix for suffix in SUFFIXES if suffix and form.endswith(suffix)), "")


def reference_form(form: str) -> str:
    """The form of btjax with the same suffix; a form's time is divided by the time of this one."""
    return "btjax" + suffix_of(form)


def dtype_of(case: Case, form: str) -> str:
    """The type that a form of a case computes in, `float32` or `bfloat16`."""
    return "bfloat16" if form.endswith(BFLOAT16) else case.dtype


def flops(case: Case) -> float:
    """Floating-point operations for one image: 2 per multiply-add of convolutions and dense layers.

    Taps that fall on padding count. A backward pass costs as much as the forward pass for the kernel's gradient, and as
    much again for the input's gradient, which the first layer does not need. The frozen `location` has no backward
    pass. The multiplications that Winograd's convolution saves are counted as well, so its rate may exceed the rate of
    plain matrix products.
    """
    if case.kind in SALIENCY:
        # A forward pass and the gradient by each layer's input, for every sample.
        return 2.0 * sum(2 * products for products, _ in _cnn_layers(case)) * SAMPLES
    layers = {"cnn": _cnn_layers, "vgg16": _vgg16_layers, "unet": _unet_layers}[case.kind](case)
    if case.kind == "vgg16":
        return 2.0 * sum(products for products, _ in layers)
    return 2.0 * sum(products * passes for products, passes in layers)


def _cnn_layers(case: Case) -> list[tuple[int, int]]:
    """For each layer: multiply-adds of a forward pass on one image, and how many times a training step does these."""
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
    """Slices uint8 [ROWS, S, S] and labels int32 [ROWS], random: the time does not depend on the pixels."""
    random = np.random.default_rng(0)
    size = case.image_size
    return random.integers(0, 256, (ROWS, size, size)).astype(np.uint8), random.integers(0, 3, ROWS).astype(np.int32)


def random_inputs(case: Case) -> np.ndarray:
    """The input of a forward pass, float32 [B, S, S, channels] in [-1, 1]."""
    shape = (case.batch_size, case.image_size, case.image_size, case.channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def batches(case: Case, steps: int) -> list[np.ndarray]:
    """The rows, int64 [B], of each of `steps` batches; after the last slice they start again at the first."""
    return list((np.arange(steps * case.batch_size) % ROWS).reshape(steps, case.batch_size))


def wide_layers(least: int = 512) -> dict[str, dict]:
    """The shapes of the paper's convolutions with at least `least` filters, as they are in `paper64` and `paper128`.

    Returns:
      By name, such as paper64/conv_3: the shapes `image` [B, S, S, C] and `kernel` [3, 3, C, O].
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
    """Floating-point operations of a layer's forward pass on its batch; each of its two gradients takes as many."""
    return 2.0 * math.prod(layer["image"]) * math.prod(layer["kernel"]) / layer["image"][3]
