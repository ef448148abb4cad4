"""The same maps by captum, of PyTorch's CNN with btjax's weights.

PyTorch and captum are the extra `bench`: the imports below are ignored by pyright because it also runs without them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import jax
import torch  # pyright: ignore[reportMissingImports]
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency  # pyright: ignore[reportMissingImports]

from experiments.bench import forms_btjax, forms_torch
from experiments.bench.cases import SAMPLES, Case, random_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

_NOISE = 0.15
"""Standard deviation of SmoothGrad's noise as a share of the range of the inputs; the default of btjax."""


def prepare(case: Case, form: str) -> Callable[[int], None]:
    """A function `run(steps)`; each step computes the maps of a batch."""
    attribute = explain(case, form)

    def run(steps: int) -> None:
        for _ in range(steps):
            attribute()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def explain(case: Case, form: str) -> Callable[[], torch.Tensor]:
    """A function that computes a case's maps for class 0, [B, channels, S, S]; each pass takes the whole batch."""
    with jax.default_device(jax.devices("cpu")[0]):
        params = forms_btjax.fresh_variables(case, forms_btjax.make_cnn(case))["params"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if form == "captum_channels_last" else torch.contiguous_format
    model = forms_torch.load_cnn(forms_torch.make_cnn(case), params, case.image_size // 2 ** len(case.widths))
    model = forms_torch.place(model.eval(), device, layout)
    inputs = torch.tensor(random_inputs(case), device=device).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    if case.kind == "integrated_gradients":
        settings = {"n_steps": SAMPLES, "method": "riemann_middle", "internal_batch_size": len(inputs)}
        attribute = partial(IntegratedGradients(model).attribute, inputs, target=0, **settings)
    else:
        spread = _NOISE * float(inputs.max() - inputs.min())
        settings = {"nt_type": "smoothgrad", "nt_samples": SAMPLES, "nt_samples_batch_size": 1, "stdevs": spread}
        attribute = partial(NoiseTunnel(Saliency(model)).attribute, inputs, target=0, abs=False, **settings)
    # captum's types allow for tuples of inputs; for one tensor it returns one tensor.
    return cast("Callable[[], torch.Tensor]", attribute)
