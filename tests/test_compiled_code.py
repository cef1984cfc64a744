"""Compiled code that outlives the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, jax, jax.numpy as jnp
import hoam_plugin as hoam

# Something was compiled before the library was asked.
jax.jit(lambda x: x + 1)(jnp.ones(3))
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rsplit("/", 1)[-1]))
print(hoam.keep_compiled_code(*sys.argv[1:]))


def many(x):
    for i in range(12):
        x = jnp.sort(jnp.sin(x) @ jnp.cos(x).T, axis=i % 2)
    return x.sum()


value = jax.jit(jax.grad(many))(jnp.linspace(0.0, 1.0, 64).reshape(8, 8))
print(float(value.sum()).hex())
print(events.count("cache_hits"), events.count("cache_misses"))
"""


def _run(*arguments: str, **environment: str) -> list[str]:
    clean = {n: v for n, v in os.environ.items() if n not in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    run = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


@pytest.mark.long
def test_a_second_process_reads_back_what_the_first_compiled(tmp_path: Path) -> None:
    folder, first, (_, misses) = *_run(str(tmp_path / "kept"))[:2], _run(str(tmp_path / "other"))[2].split()
    again, second, (hits, missed) = *_run(str(tmp_path / "kept"))[:2], _run(str(tmp_path / "kept"))[2].split()
    assert folder == again == str(tmp_path / "kept")
    assert first == second
    assert int(misses) > 0
    assert int(hits) > 0
    assert int(missed) < int(misses)


@pytest.mark.long
def test_the_command_line_keeps_it_and_logs_nothing(tmp_path: Path) -> None:
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("JAX_COMPILATION", "TF_CPP", "XLA_FLAGS"))}
    command = [sys.executable, "-m", "hoam_plugin", "simulate", "oscillator", "--samples", "8", "--times", "0:1:3"]
    for output in ("first.zarr", "second.zarr"):
        run = subprocess.run(
            [*command, "--output", str(tmp_path / output), "--no-progress"],
            env={**clean, "XDG_CACHE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        # What was written, and nothing of XLA's.
        assert [line.split(":")[0] for line in run.stderr.splitlines()] == ["hoam"]
    assert list((tmp_path / "hoam-plugin").glob("jaxlib-*/*"))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="names the folder of Linux")
def test_where_it_is_kept(tmp_path: Path) -> None:
    own = _run(XDG_CACHE_HOME=str(tmp_path))[0]
    assert Path(own).is_relative_to(tmp_path / "hoam-plugin")
    assert _run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"))[0] == str(tmp_path / "theirs")
    assert _run(JAX_ENABLE_COMPILATION_CACHE="0", XDG_CACHE_HOME=str(tmp_path))[0] == "None"
