"""Test configuration: annotations checked at run time, no implicit promotion of dtypes or ranks."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

# Most of the time of the suite is compilation; this spares two thirds of it. Benchmarks, notebooks and what tests the
# compiler itself run optimised code.
_QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def _compile_quickly() -> None:
    """Set the flags where the XLA in use knows them: one that does not would stop the process."""
    flags = os.environ.get("XLA_FLAGS", "")
    # Worker processes inherit what the first one has found out.
    if "HOAM_TEST_XLA_FLAGS" not in os.environ:
        os.environ["HOAM_TEST_XLA_FLAGS"] = flags
        tried = f"{flags} {_QUICK_TO_COMPILE}"
        program = "import jax; jax.jit(lambda x: x + 1)(1.0)"
        run = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "XLA_FLAGS": tried}, capture_output=True
        )
        if run.returncode == 0:
            os.environ["XLA_FLAGS"] = tried


_compile_quickly()
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


@pytest.fixture(autouse=True)
def clean_registry() -> Iterator[None]:
    """What a test registers is gone for the next one."""
    yield
    entries = sys.modules.get("hoam_plugin.registry.entries")
    if entries is not None:
        entries._entries.clear()


@pytest.fixture(autouse=True, scope="module")
def bounded_memory_maps() -> Iterator[None]:
    """Every compiled function maps some memory; beyond the kernel's limit (65530 by default) XLA crashes."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_text().splitlines()) > 20_000:
        jax.clear_caches()
