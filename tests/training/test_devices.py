"""`fit` over the devices of a mesh, in one process and in two: the numbers of one device."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toy
from jax.sharding import Mesh
from repository import ROOT

import hoam_plugin as hoam
from benchmarks.devices import collective_bytes

pytestmark = pytest.mark.long


def started(out: Path, *arguments: str) -> subprocess.Popen[str]:
    script = ROOT / "tests" / "helpers" / "on_devices.py"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(*processes: subprocess.Popen[str]) -> None:
    try:
        for process in processes:
            output = process.communicate(timeout=500)[0]
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def one_process(folder: Path) -> Any:
    """Trainings on 1, 2 and 8 of 8 devices, and by default."""
    ended(started(folder / "one", "--devices", "8", "--meshes", "1", "2", "8", "0"))
    return np.load(folder / "one.0.npz")


@pytest.fixture(scope="module")
def two_processes(folder: Path) -> list[Any]:
    """The same training in two processes of one device each."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    ended(*(started(folder / "two", "--process", str(i), "--of", "2", "--port", port) for i in range(2)))
    return [np.load(folder / f"two.{i}.npz") for i in range(2)]


def test_losses_are_those_of_one_device(one_process: Any) -> None:
    assert one_process["losses_1"].shape == (200,)
    for n in (2, 8, 0):
        np.testing.assert_allclose(one_process[f"losses_{n}"], one_process["losses_1"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(one_process[f"validation_{n}"], one_process["validation_1"], rtol=0, atol=1e-6)


def test_devices_tell_one_another_gradients_and_nothing_of_samples(
    one_process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))

    # The loss and its quadratic part beside the gradient, in double precision.
    assert collective_bytes(str(one_process["code"])) == {"all-reduce": int(one_process["bytes_of_weights"]) + 2 * 8}


def test_all_devices_of_the_process_are_the_default(one_process: Any) -> None:
    assert one_process["n_devices"][:4].tolist() == [1, 2, 8, 8]


def test_losses_of_two_processes_are_those_of_one(one_process: Any, two_processes: list[Any]) -> None:
    for one in two_processes:
        np.testing.assert_allclose(one["losses_2"], one_process["losses_1"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(one["validation_2"], one_process["validation_1"], rtol=0, atol=1e-6)


def test_each_process_reads_its_runs_and_the_first_one_writes(
    folder: Path, one_process: Any, two_processes: list[Any]
) -> None:
    # For training and for judging, in two windows.
    assert [sorted(set(one["prepared"].tolist())) for one in two_processes] == [[0, 2], [1]]
    # For checks, units and the clock, which come out the same in both.
    assert [sorted(set(one["passed"].tolist())) for one in two_processes] == [[0, 2], [1]]
    assert not one_process["passed"].size
    assert (folder / "two.0.2.hoam").exists()
    assert not (folder / "two.1.2.hoam").exists()
    # A checkpoint knows its data, however they are spread.
    assert len({*one_process["fingerprints"], *(f for one in two_processes for f in one["fingerprints"])}) == 1


def test_what_fails_in_one_process_fails_in_all(two_processes: list[Any]) -> None:
    first, second = (str(one["failed"]) for one in two_processes)
    assert second == "ValueError: this one failed"
    assert "process 1 failed" in first
    assert "mesh has devices of the processes [0], of 2" in str(two_processes[1]["of_others"])


def test_samples_that_devices_do_not_divide_are_refused(one_process: Any) -> None:
    assert str(one_process["not_divided"]) == (
        "ValueError: mesh: n_samples=12 samples of an iteration are no multiple of its 8 devices along 'samples'; pass "
        "training=Training(n_samples=8 or 16), or fewer devices"
    )
    assert "n_end_samples=7 samples of an iteration" in str(one_process["ends_not_divided"])
    # 2048 over 3 nodes.
    assert "n_samples=682" in str(one_process["default_not_divided"])


@pytest.mark.usefixtures("as_installed")
def test_what_is_no_row_of_devices_is_refused() -> None:
    def trained(mesh: Any, **options: Any) -> None:
        hoam.fit(toy.moving_gaussian(n_samples=64), key=jax.random.key(0), mesh=mesh, progress=False, **options)

    with pytest.raises(TypeError, match=r"mesh=8 .*a jax\.sharding\.Mesh or None"):
        trained(8)
    square = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    with pytest.raises(
        ValueError, match=r"mesh has the axes \('data', 'model'\); give it one axis, or call .*'samples'"
    ):
        trained(square)
    row = Mesh(np.asarray(jax.devices()[:1]), ("any",))
    with pytest.raises(ValueError, match=r"MomentMatching.* compares moments of all samples at once"):
        trained(row, structure="field", loss=hoam.MomentMatching(), training=hoam.Training(iterations=2))
