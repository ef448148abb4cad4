"""The same models in PyTorch.

For a convolution with stride 2 PyTorch pads both sides, XLA's "SAME" only the end; each is the mirror image of the
other. With mirrored kernels and a mirrored image, the U-Net here returns the mirror image of what btjax's returns.

PyTorch is the extra `bench`: the imports below are ignored by pyright because it also runs without it.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from btjax.models.unet import EPSILON, MOMENTUM, down_widths, halvings, up_widths
from btjax.models.vgg16 import CONVOLUTIONS
from experiments.bench.cases import Case, batches, dtype_of, random_inputs, random_slices

if TYPE_CHECKING:
    from collections.abc import Callable


def make_model(case: Case) -> nn.Module:
    """The module of a case, on images float32 [B, channels, S, S]."""
    return {"cnn": make_cnn, "vgg16": make_vgg16, "unet": UNet}[case.kind](case)


def make_cnn(case: Case) -> nn.Sequential:
    """The CNN with btjax's defaults; the L2 term takes the kernel of the layer `dense`."""
    layers, channels = nn.Sequential(), case.channels
    for index, width in enumerate(case.widths, 1):
        layers.add_module(f"conv_{index}", nn.Conv2d(channels, width, 3, padding=1))
        layers.add_module(f"relu_{index}", nn.ReLU())
        layers.add_module(f"pool_{index}", nn.MaxPool2d(2))
        channels = width
    layers.add_module("flatten", nn.Flatten())
    size = case.image_size // 2 ** len(case.widths)
    layers.add_module("dense", nn.Linear(channels * size**2, case.dense))
    layers.add_module("relu", nn.ReLU())
    layers.add_module("dropout", nn.Dropout(0.1))
    layers.add_module("logits", nn.Linear(case.dense, 3))
    return layers


def load_cnn(model: nn.Sequential, params: dict, size: int) -> nn.Sequential:
    """Copies the parameters of btjax's CNN into a CNN in PyTorch.

    Args:
      model: what `make_cnn` returned.
      params: layer -> kernel and bias; convolutions [3, 3, I, O].
      size: side of the last layer's maps, in pixels: btjax flattens [size, size, C], PyTorch [C, size, size].

    Returns:
      The model itself.
    """
    for name, layer in model.named_children():
        if name not in params:
            continue
        kernel = np.asarray(params[name]["kernel"])
        if name == "dense":
            kernel = kernel.reshape(size, size, -1, kernel.shape[1]).transpose(2, 0, 1, 3).reshape(kernel.shape)
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        layer.weight.data = torch.tensor(kernel.copy())
        layer.bias.data = torch.tensor(np.asarray(params[name]["bias"]))
    return model


def make_vgg16(case: Case) -> nn.Sequential:
    """VGG16's base and the paper's head."""
    layers, channels = nn.Sequential(), case.channels
    for name, width in CONVOLUTIONS.items():
        if name.endswith("conv1") and len(layers):
            layers.append(nn.MaxPool2d(2))
        layers.append(nn.Conv2d(channels, width, 3, padding=1)).append(nn.ReLU())
        channels = width
    layers.append(nn.MaxPool2d(2)).append(nn.Flatten())
    layers.append(nn.Linear(channels * (case.image_size // 32) ** 2, case.dense)).append(nn.ReLU())
    return layers.append(nn.Linear(case.dense, 3))


class Block(nn.Module):
    """A convolution, plain or transposed, without bias; batch normalisation, dropout, activation."""

    def __init__(self, convolution: nn.Module, features: int, dropout: float, slope: float) -> None:
        super().__init__()
        self.conv, self.dropout, self.slope = convolution, dropout, slope
        self.batch_norm = nn.BatchNorm2d(features, eps=EPSILON, momentum=1 - MOMENTUM)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[B, features, S', S'] of hidden [B, C, S, S]."""
        hidden = self.batch_norm(self.conv(hidden))
        if self.dropout:
            hidden = nn.functional.dropout(hidden, self.dropout, self.training)
        return nn.functional.leaky_relu(hidden, self.slope) if self.slope else nn.functional.relu(hidden)


class UNet(nn.Module):
    """`btjax.models.unet.UNet`, layer by layer and name by name."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        levels, (width,), channels = halvings(case.image_size), case.widths, case.channels
        self.chain = nn.Sequential()
        for index, features in enumerate(down_widths(width, levels), 1):
            convolution = nn.Conv2d(channels, features, 3, stride=2, padding=1, bias=False)
            self.chain.add_module(f"down_{index}", Block(convolution, features, 0.0, 0.3))
            channels = features
        latent = nn.Conv2d(channels, channels, 1, bias=False)
        self.chain.add_module("latent", Block(latent, channels, 0.0, 0.3))
        transposed = partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=1)
        for index, features in enumerate(up_widths(width, levels), 1):
            convolution = transposed(channels, features, bias=False)
            self.chain.add_module(f"up_{index}", Block(convolution, features, 0.5 if index <= 3 else 0.0, 0.0))
            channels = features
        self.chain.add_module("last", transposed(channels, 3))
        self.location = nn.Conv2d(case.channels, 1, 1, bias=False).requires_grad_(False)
        self.colorer = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, 3, S, S] of inputs [B, channels, S, S]."""
        return self.colorer(torch.cat([self.chain(inputs), self.location(inputs)], 1))


def place(model: nn.Module, device: str, layout: torch.memory_format) -> nn.Module:
    """Moves a model to a device, with its kernels in a memory layout."""
    return model.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]  torch's stubs omit memory_format


@dataclasses.dataclass(frozen=True)
class _Form:
    """How a form runs its model.

    Attributes:
      device: `cpu` or `cuda`.
      layout: memory layout of images and kernels.
      mixed: the context of automatic mixed precision, disabled for float32.
      compiled: whether `torch.compile` compiles the model, in training with its loss.
      fused: whether the optimizer is one kernel.
    """

    device: str
    layout: torch.memory_format
    mixed: torch.autocast
    compiled: bool
    fused: bool


def prepare(case: Case, form: str) -> Callable[[int], None]:
    """A function `run(steps)` that waits for the results."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")  # TensorFloat-32 on a GPU, as JAX has by default; nothing on a CPU
    layout = torch.contiguous_format if form == "torch_eager" else torch.channels_last
    model = place(make_model(case), device, layout)
    mixed = torch.autocast(device, torch.bfloat16, enabled=dtype_of(case, form) == "bfloat16")
    settings = _Form(device, layout, mixed, form.startswith("torch_compile"), form != "torch_eager")
    take = (_forward if case.kind == "vgg16" else _training)(case, model, settings)

    def run(steps: int) -> None:
        take(steps)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _training(case: Case, model: nn.Module, form: _Form) -> Callable[[int], None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.001, eps=1e-7, fused=form.fused)
    dense = None if case.kind == "unet" else model.get_parameter("dense.weight")
    images, labels = (torch.tensor(array, device=form.device) for array in random_slices(case))

    def loss_of(rows):
        inputs = images[rows].float().div(255)[:, None].expand(-1, case.channels, -1, -1)
        inputs = inputs.contiguous(memory_format=form.layout)
        with form.mixed:
            outputs = model(inputs).float()
        if dense is None:
            return nn.functional.l1_loss(outputs, inputs)
        return nn.functional.cross_entropy(outputs, labels[rows].long()) + 0.001 * dense.square().sum()

    if form.compiled:
        loss_of = torch.compile(loss_of)

    def run(steps):
        for rows in batches(case, steps):
            optimizer.zero_grad(set_to_none=True)
            loss_of(torch.as_tensor(rows, device=form.device)).backward()
            optimizer.step()

    return run


def _forward(case: Case, model: nn.Module, form: _Form) -> Callable[[int], None]:
    inputs = torch.tensor(random_inputs(case), device=form.device).permute(0, 3, 1, 2)
    inputs = inputs.contiguous(memory_format=form.layout)
    apply = torch.compile(model.eval()) if form.compiled else model.eval()

    def run(steps):
        with torch.inference_mode(), form.mixed:
            for _ in range(steps):
                apply(inputs)

    return run
