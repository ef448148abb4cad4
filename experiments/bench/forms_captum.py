"""The same maps by captum, of PyTorch's CNN with btjax's weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency

from experiments.bench import forms_btjax, forms_torch
from experiments.bench.cases import SAMPLES, Case, random_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

_NOISE = 0.15


def prepare(case: Case, form: str) -> Callable[[int], None]:
    """`run(steps)`, each of which makes the maps of a batch."""
    attribute = explain(case, form)

    def run(steps: int) -> None:
        for _ in range(steps):
            attribute()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def explain(case: Case, form: str) -> Callable[[], torch.Tensor]:
    """Makes the maps of a case, [B, channels, S, S], of class 0's logit, all images of the batch in a pass."""
    with jax.default_device(jax.devices("cpu")[0]):
        params = forms_btjax.fresh_variables(case, forms_btjax.make_model(case))["params"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if form == "captum_channels_last" else torch.contiguous_format
    model = forms_torch.load_cnn(forms_torch.make_cnn(case), params, case.image_size // 2 ** len(case.widths))
    model = model.eval().to(device, memory_format=layout)
    inputs = torch.tensor(random_inputs(case), device=device).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    if case.kind == "integrated_gradients":
        settings = {"n_steps": SAMPLES, "method": "riemann_middle", "internal_batch_size": len(inputs)}
        return partial(IntegratedGradients(model).attribute, inputs, target=0, **settings)
    spread = _NOISE * float(inputs.max() - inputs.min())
    settings = {"nt_type": "smoothgrad", "nt_samples": SAMPLES, "nt_samples_batch_size": 1, "stdevs": spread}
    return partial(NoiseTunnel(Saliency(model)).attribute, inputs, target=0, abs=False, **settings)
