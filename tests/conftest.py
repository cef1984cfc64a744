"""Test configuration: annotations checked at run time, no implicit promotion of dtypes or ranks."""

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

# Most of the suite's time is compilation; this spares two thirds of it. Benchmarks and notebooks run optimised code.
# A version of XLA that does not know a flag would stop the process.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    quick = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"

jaxtyping.install_import_hook(["hoam_plugin"], "beartype.beartype")

import hypothesis  # noqa: E402
import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# The first example of a shape compiles, so that times say nothing; the same examples every time.
hypothesis.settings.register_profile("hoam", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("hoam")


@pytest.fixture
def as_installed() -> Iterator[None]:
    """No type checks for one test: the errors of wrong types that users see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision for one test, in every thread (the context manager `jax.enable_x64` covers only its own)."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory_maps() -> Iterator[None]:
    """Every compiled function maps some memory; beyond the kernel's limit (65530 by default) XLA crashes."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_text().splitlines()) > 20_000:
        jax.clear_caches()
