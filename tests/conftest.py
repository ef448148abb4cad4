"""What every test runs under: strict promotion, two CPU devices, and the real slices where they are at hand."""

import atexit
import importlib
import os
import pathlib
import re
import shutil
import tempfile
import warnings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile more than they compute: without LLVM's slow passes they take two thirds of the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

# Workers of the tests keep all cores busy: more threads of a library would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)

# Many tests compile the same programs: within a session each is compiled once, whichever worker or command needs it
# first. Commands take the two variables of JAX from their environment.
# What tests and examples put into temporary folders goes with the session; pytest keeps its own as it always does.
if "BTJAX_TESTS_COMPILED" not in os.environ:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    _session = pathlib.Path(tempfile.mkdtemp(prefix="btjax-tests-"))
    atexit.register(shutil.rmtree, _session, ignore_errors=True)
    for _name in ("compiled", "tmp"):
        (_session / _name).mkdir()
    os.environ |= {"BTJAX_TESTS_COMPILED": str(_session / "compiled"), "TMPDIR": str(_session / "tmp")}
    tempfile.tempdir = None  # found anew
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["BTJAX_TESTS_COMPILED"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
jax.config.update("jax_compilation_cache_dir", os.environ["BTJAX_TESTS_COMPILED"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

ROOT = pathlib.Path(__file__).resolve().parents[1]
REAL_SLICES = pathlib.Path(os.environ.get("BTJAX_REAL_SLICES", ROOT.parent / "shared" / "data" / "cheng"))


@pytest.fixture(autouse=True)
def strict_promotion():
    """btjax's own code promotes neither types nor ranks; tests that train loosen it, since optax does."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def standard_promotion(strict_promotion):
    """Optax raises a Python float to an integer step count, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def real_slices_dir() -> pathlib.Path:
    """The folder of the 3064 real slices (images/, masks/, manifest.csv)."""
    if not (REAL_SLICES / "manifest.csv").exists():
        pytest.skip("no real slices: $BTJAX_REAL_SLICES names no folder with manifest.csv, images/ and masks/")
    return REAL_SLICES


@pytest.fixture(scope="session")
def weights_folder() -> pathlib.Path:
    """The folder of published weights, which may be absent."""
    return pathlib.Path(os.environ.get("BTJAX_WEIGHTS", ROOT.parent / "shared" / "weights"))


@pytest.fixture(scope="session")
def vgg16_weights(weights_folder) -> pathlib.Path:
    """Keras's file of ImageNet's VGG16 without its top."""
    path = weights_folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    if not path.exists():
        pytest.skip("no VGG16 weights: $BTJAX_WEIGHTS names no folder with Keras's file (scripts/download vgg16)")
    return path


def _peer(name: str):
    """A module to compare with; scripts/test --parity installs it and sets BTJAX_PARITY, under which absence fails."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if "BTJAX_PARITY" in os.environ:
            raise
        pytest.skip(f"needs {name}, of the extra `parity`: scripts/test --parity")


@pytest.fixture(scope="session")
def torch():
    """PyTorch."""
    return _peer("torch")


@pytest.fixture(scope="session")
def torchvision(torch):
    """PyTorch's networks."""
    stubs = []
    while True:
        try:
            module = _peer("torchvision")
        except RuntimeError as error:
            # Its compiled operators are of another build of torch, and its networks need none: each is named by an
            # error on import, and a stub lets the import go on.
            name = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if name is None or len(stubs) > 30:
                raise
            stubs.append(torch.library.Library("torchvision", "FRAGMENT"))
            stubs[-1].define(f"{name[1]}(Tensor input) -> Tensor")
        else:
            module.stubs = stubs  # what they define goes with them
            return module


@pytest.fixture(scope="session")
def safetensors():
    """The file format that PyTorch weights are exchanged in."""
    _peer("safetensors.numpy")
    return _peer("safetensors")


@pytest.fixture(scope="session")
def keras():
    """Keras on its JAX backend."""
    os.environ["KERAS_BACKEND"] = "jax"
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _peer("keras")


@pytest.fixture(scope="session")
def captum(torch):
    """captum's attribution methods, for PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _peer("captum.attr")
        return _peer("captum")
