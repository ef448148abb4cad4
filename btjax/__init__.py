"""btjax: brain tumours in MRI slices, classified in JAX under honest protocols.

import btjax

slices = btjax.load("/path/to/slices", image_size=128)
split = btjax.make_split(slices, "patient", fold=0)
run = btjax.restore("runs/cnn")
run.probabilities(slices.take(split.test).images)
"""

from btjax.base.errors import InputError
from btjax.data.builder import load
from btjax.data.phantom import make_phantom
from btjax.data.slices import CLASSES, Slices
from btjax.data.splits import PROTOCOLS, Split, make_split
from btjax.runs.run import Restored, Run, restore
from btjax.systems.config import Config

__all__ = [
    "CLASSES",
    "PROTOCOLS",
    "Config",
    "InputError",
    "Restored",
    "Run",
    "Slices",
    "Split",
    "load",
    "make_phantom",
    "make_split",
    "restore",
]
