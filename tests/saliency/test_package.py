"""The package as a whole."""

import pkgutil
import subprocess
import sys

from btjax import saliency

MODULES = [f"{saliency.__name__}.{module.name}" for module in pkgutil.iter_modules(saliency.__path__)]
HEAVY = ("matplotlib", "optax", "orbax", "scipy.ndimage", "scipy.stats", "skimage", "sklearn")


def test_importing_the_package_imports_nothing_heavy():
    program = f"import sys, {', '.join(MODULES)}; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
