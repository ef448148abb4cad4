"""The text of model_torch.py: plain PyTorch modules whose state dicts `experiments.export --to=torch` writes."""

COMMON = '''"""The network of model_torch.safetensors in PyTorch, without btjax: needs torch and safetensors.

model, inputs = load("this/folder")
outputs = model(inputs(images))  # of uint8 [B, S, S]; logits are divided by model.json's temperature before a softmax
"""

import json
import pathlib

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional


def load(folder):
    """The module in inference mode, and the function from uint8 slices [B, S, S] to its inputs [B, channels, S, S]."""
    folder = pathlib.Path(folder)
    about = json.loads((folder / "model.json").read_text())
    state = load_file(folder / "model_torch.safetensors")
    model = Network(state, about["torch"])
    model.load_state_dict(state)
    return model.eval(), lambda images: prepare(images, about["preprocessing"])


def prepare(images, how):
    """uint8 [B, S, S] -> float32 [B, channels, S, S]."""
    x = images[:, None].float() / 255
    if how["colour"] == "viridis":
        import matplotlib

        table = torch.tensor(matplotlib.colormaps["viridis"](range(256), bytes=True)[:, :3].copy())
        x = table[images.long()].permute(0, 3, 1, 2).float() / 255
    elif how["colour"] == "grey3":
        x = x.expand(-1, 3, -1, -1)
    if how["scale"] == "signed":
        return x * 2 - 1
    if how["scale"] == "standard":
        mean = x.mean((1, 2, 3), keepdim=True)
        return (x - mean) / (x.std((1, 2, 3), correction=0, keepdim=True) + 1e-6)
    if how["scale"] == "caffe":
        return x.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    if how["scale"] == "torch":
        mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
        return (x - mean) / deviation
    return x


'''

CHAIN = '''class Network(nn.Module):
    """Convolutions with ReLU, max pools between them, then dense layers; no activation after the last."""

    def __init__(self, state, how):
        super().__init__()
        self.how = how
        for name in how["convolutions"]:
            out, channels, *size = state[f"{name}.weight"].shape
            self.add_module(name, nn.Conv2d(channels, out, size, padding=how["padding"]))
        for name in how["dense"]:
            out, units = state[f"{name}.weight"].shape
            self.add_module(name, nn.Linear(units, out))

    def forward(self, x):
        for name in self.how["convolutions"]:
            x = getattr(self, name)(x).relu()
            if name in self.how["pooled"]:
                x = functional.max_pool2d(x, 2)
        x = x.mean((2, 3)) if self.how["pooling"] == "average" else x.flatten(1)
        *hidden, last = self.how["dense"]
        for name in hidden:
            x = getattr(self, name)(x).relu()
        return getattr(self, last)(x)
'''

UNET = '''class Down(nn.Module):
    """Convolution without bias, batch normalisation, LeakyReLU 0.3; stride 2 pads below and to the right."""

    def __init__(self, weight, stride):
        super().__init__()
        out, channels, *size = weight.shape
        self.conv = nn.Conv2d(channels, out, size, stride, bias=False)
        self.batch_norm = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x):
        if self.conv.stride == (2, 2):
            x = functional.pad(x, (0, 1, 0, 1))
        return functional.leaky_relu(self.batch_norm(self.conv(x)), 0.3)


class Up(nn.Module):
    """Transposed convolution with stride 2 without bias, cut to twice the size; batch normalisation, ReLU."""

    def __init__(self, weight):
        super().__init__()
        channels, out, *size = weight.shape
        self.conv = nn.ConvTranspose2d(channels, out, size, 2, bias=False)
        self.batch_norm = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x):
        return self.batch_norm(self.conv(x)[..., :-1, :-1]).relu()


class Network(nn.Module):
    """The U-Net (images in, images out), or its encoder with a dense layer (images in, logits out)."""

    def __init__(self, state, how):
        super().__init__()
        self.how = how
        for name in (*how["down"], "latent"):
            self.add_module(name, Down(state[f"{name}.conv.weight"], 1 if name == "latent" else 2))
        if how["up"]:
            for name in how["up"]:
                self.add_module(name, Up(state[f"{name}.conv.weight"]))
            channels, out, *size = state["last.weight"].shape
            self.last = nn.ConvTranspose2d(channels, out, size, 2)
            self.location = nn.Conv2d(state["location.weight"].shape[1], 1, 1, bias=False)
            out, channels, *size = state["colorer.weight"].shape
            self.colorer = nn.Conv2d(channels, out, size, padding="same")
        else:
            self.logits = nn.Linear(state["logits.weight"].shape[1], state["logits.weight"].shape[0])

    def forward(self, x):
        images = x
        for name in (*self.how["down"], "latent", *self.how["up"]):
            x = getattr(self, name)(x)
        if not self.how["up"]:
            return self.logits(x.flatten(1))
        return self.colorer(torch.cat([self.last(x)[..., :-1, :-1], self.location(images)], 1))
'''
