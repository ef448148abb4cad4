"""What commands import, imported once by the process that theirs are copied from; JAX's devices are left alone."""

import importlib
import pkgutil
import warnings

import btjax

warnings.simplefilter("ignore")
for _module in pkgutil.walk_packages(btjax.__path__, "btjax."):
    importlib.import_module(_module.name)
for _name in (
    "optax",
    "orbax.checkpoint",
    "tensorboardX",
    "sklearn.metrics",
    "scipy.stats",
    "matplotlib.pyplot",
    "tensorflow_datasets",
):
    importlib.import_module(_name)
