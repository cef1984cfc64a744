"""The command as a whole: help, `hoam list`, faults, and running as a module."""

import importlib.metadata
import subprocess
import sys
import warnings

import pytest
from command_line import hoam_command

from hoam_plugin import registry, shipped
from hoam_plugin._internal.checks import with_details


def test_list_names_every_stepper_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert hoam_command("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*registry.names(), *(f"pretrained:{n}" for n in shipped.names())]
    assert any(line.split()[:2] == ["two_stream", "mu"] for line in lines)


def test_faults_get_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fault() -> None:
        raise KeyError("mu")

    monkeypatch.setattr(registry, "catalogue", fault)
    assert hoam_command("list") == 1
    line = capsys.readouterr().err
    assert line.startswith("hoam: fault: KeyError: 'mu' (test_app.py, line ")
    assert line.count("\n") == 1
    monkeypatch.setenv("HOAM_TRACEBACK", "1")
    assert hoam_command("list") == 1
    assert "Traceback" in capsys.readouterr().err


def test_warnings_get_one_line_that_says_what_helps_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warned() -> list[object]:
        warnings.warn("plain", UserWarning, stacklevel=1)
        warnings.warn(with_details(UserWarning("coarse\ntime"), environment={"JAX_ENABLE_X64": "1"}), stacklevel=1)
        return []

    monkeypatch.setattr(registry, "catalogue", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert hoam_command("list") == 0
    assert capsys.readouterr().err.splitlines() == [
        "hoam: warning: plain",
        "hoam: warning: coarse time (on the command line: JAX_ENABLE_X64=1 hoam ...)",
    ]


def test_interrupts_of_the_first_moments_get_one_line() -> None:
    code = (
        "import os, signal, sys\nclass Interrupts:\n  def find_spec(name, *_):\n"
        "    if name == 'hoam_plugin._internal.ending': os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.meta_path.insert(0, Interrupts)\n"
        "from hoam_plugin.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 130
    assert done.stderr == "hoam: interrupted: before any work had begun\n"


def test_help_is_quick_and_imports_no_jax() -> None:
    code = (
        "import sys\nfrom hoam_plugin.cli import main\nassert main(['--help']) == 0\n"
        "assert 'jax' not in sys.modules and 'xarray' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for command in ("list", "info", "simulate", "fit", "compare", "demo", "--config", "--quiet", "--verbose"):
        assert command in done.stdout


def test_module_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "hoam_plugin", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, importlib.metadata.version("hoam-plugin"))
