"""Steppers that other installed distributions publish."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toy
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin import registry, simulators
from hoam_plugin.cli.app import main as command
from hoam_plugin.registry import published_surrogates
from hoam_plugin.surrogates import with_learned

PACKAGE = ROOT / "tests" / "packages" / "hoam_fast_plasma"

Install = Callable[..., Path]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip installed the package of a third party into, with the file of a surrogate."""
    source, target = tmp_path_factory.mktemp("source") / PACKAGE.name, tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    toy.plasma_surrogate().save(source / PACKAGE.name / "two_stream.hoam")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", target]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *map(str, options), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Writes what pip would: a module and the entry points of its distribution."""
    modules = []

    def install(title: str, code: str, **entry_points: str) -> Path:
        module = title.replace("-", "_")
        folder = tmp_path / title
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{value}" for name, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[hoam_plugin.steppers]", *lines]) + "\n")
        (folder / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(folder)
        modules.append(module)
        return folder

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.mark.long
def test_the_example_runs_unchanged_with_an_installed_surrogate(site: Path, tmp_path: Path) -> None:
    code = """
import sys
import jax, numpy as np
import hoam_plugin as hoam
sys.path.insert(0, sys.argv[1])
import energy_curve

assert "hoam_fast_plasma" not in sys.modules
options = {"key": jax.random.key(0), "n_samples": 256}
mu, times = [1.3, 1.6], [0.0, 0.5, 1.0]
simulated = energy_curve.energy_curve("two_stream", mu, times, **options)
assert "hoam_fast_plasma" not in sys.modules
with hoam.use_surrogate("two_stream") as model:
    assert isinstance(model, hoam.Surrogate)
    learned = energy_curve.energy_curve("two_stream", mu, times, **options)
assert learned.dims == simulated.dims and np.isfinite(learned).all()
assert not np.allclose(learned[:, 1:], simulated[:, 1:], rtol=1e-5)
print(model.ranges)
"""
    environment = {**os.environ, "PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(ROOT / "examples")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'mu': (1.2, 1.8)}"


def test_a_published_surrogate_stands_beside_the_simulator(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(site)
    assert hoam.stepper("two_stream") == simulators.two_stream()
    (model,) = registry.surrogates("two_stream")
    assert hoam.stepper("two_stream", surrogate=True) is model
    assert model.ranges == toy.plasma_surrogate().ranges
    mine = toy.plasma_surrogate()
    hoam.register("two_stream", mine)
    try:
        # What is registered here is newer than what is installed.
        assert hoam.stepper("two_stream", surrogate=True) is mine
        assert registry.surrogates("two_stream") == (model, mine)
    finally:
        registry.unregister("two_stream")
    assert command(["list"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("two_stream ")] == [
        f"two_stream mu x, v 0 to 40 0.05 simulator distribution hoam-plugin {hoam.__version__}",
        "two_stream mu 1.2 to 1.8 x, v 0 to 4 0.032 surrogate distribution hoam-fast-plasma 2.1",
    ]


def test_a_package_may_publish_simulators_and_many_surrogates_of_them(install: Install, tmp_path: Path) -> None:
    toy.plasma_surrogate().save(tmp_path / "model.hoam")
    code = f"""
import toy, hoam_plugin as hoam
PATH = {str(tmp_path / "model.hoam")!r}
SIMULATOR = toy.small_plasma()

def plasma(n_cells=32):
    from hoam_plugin import simulators
    return simulators.two_stream(n_cells=n_cells)

def surrogates():
    return [PATH, hoam.load(PATH).with_options(dt=0.25)]
"""
    install("a-plasma", code, plasma_a="plasma", plasma_b="SIMULATOR")
    install("b-surrogates", code, plasma_a="surrogates", plasma_b="PATH")
    assert hoam.stepper("plasma_a").n_cells == 32
    assert registry.build("plasma_a", {"n_cells": 16}).n_cells == 16
    assert hoam.stepper("plasma_b") == toy.small_plasma()
    with pytest.raises(ValueError, match=r"ready stepper by distribution a-plasma 1.0; it takes no arguments"):
        registry.build("plasma_b", {"n_cells": 16})
    assert [model.dt for model in registry.surrogates("plasma_a")] == [toy.plasma_surrogate().dt, 0.25]
    assert hoam.stepper("plasma_a", surrogate=True).dt == 0.25
    assert len(registry.surrogates("plasma_b")) == 1
    origins = {(row.name, row.kind): row.origin for row in registry.catalogue() if row.name.startswith("plasma_")}
    assert origins["plasma_a", "simulator"] == "distribution a-plasma 1.0"
    assert origins["plasma_a", "surrogate"] == "distribution b-surrogates 1.0"


def test_two_simulators_of_one_name_are_an_error_that_names_both(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import toy\nplasma = toy.small_plasma"
    install("a-plasma", code, plasma_a="plasma")
    assert hoam.stepper("plasma_a") == toy.small_plasma()
    install("b-plasma", code, plasma_a="plasma")
    with pytest.raises(ValueError, match=r"simulator by distribution a-plasma 1.0 and distribution b-plasma 1.0; unin"):
        hoam.stepper("plasma_a")
    assert command(["list"]) == 0
    assert "cannot be built: name='plasma_a' is published" in capsys.readouterr().out
    chosen = simulators.two_stream(n_cells=8)
    hoam.register("plasma_a", chosen)
    assert hoam.stepper("plasma_a") is chosen


def test_our_simulator_is_not_replaced(install: Install) -> None:
    install("a-plasma", "import toy\nplasma = toy.small_plasma", two_stream="plasma")
    assert hoam.stepper("two_stream") == simulators.two_stream()
    with (
        pytest.warns(UserWarning, match="distribution a-plasma 1.0 publishes a simulator as 'two_stream', the name of"),
        pytest.raises(ValueError, match="has no surrogate"),
    ):
        hoam.stepper("two_stream", surrogate=True)


def test_broken_packages_do_not_hide_the_others(install: Install, tmp_path: Path) -> None:
    toy.plasma_surrogate().save(tmp_path / "model.hoam")
    install("a-broken", "raise RuntimeError('no such library')", two_stream="MODEL", broken="MODEL")
    install("b-wrong", "MODEL = 3.0", two_stream="MODEL")
    install("c-good", f"MODEL = {str(tmp_path / 'model.hoam')!r}", two_stream="MODEL")
    assert hoam.stepper("two_stream") == simulators.two_stream()
    with (
        pytest.warns(UserWarning, match="a-broken 1.0 publishes 'two_stream', which cannot be loaded: no such library"),
        pytest.warns(UserWarning, match="entry point 'two_stream' of distribution b-wrong 1.0 gives float; it must be"),
    ):
        assert hoam.stepper("two_stream", surrogate=True).ranges == {"mu": (1.2, 1.8)}
    with pytest.raises(RuntimeError, match="no such library"):
        hoam.stepper("broken")


def test_a_surrogate_finds_the_published_simulator_that_it_replaces(install: Install, tmp_path: Path) -> None:
    """Both under one name: the simulator is looked for while the surrogate is loaded."""
    import json

    model = toy.plasma_surrogate()
    attribute = json.dumps({"name": "plasma_a", "arguments": {}})
    with_learned(model, stepper_attribute=attribute).save(tmp_path / "model.hoam")
    install("a-surrogate", f"MODEL = {str(tmp_path / 'model.hoam')!r}", plasma_a="MODEL")
    install("b-plasma", "import toy\nplasma = toy.small_plasma", plasma_a="plasma")
    assert hoam.stepper("plasma_a", surrogate=True).learned.replaces == toy.small_plasma()
    assert hoam.stepper("plasma_a") == toy.small_plasma()


def test_an_entry_point_is_loaded_once(install: Install, tmp_path: Path) -> None:
    toy.plasma_surrogate().save(tmp_path / "model.hoam")
    install("a-surrogate", f"MODEL = {str(tmp_path / 'model.hoam')!r}", two_stream="MODEL")
    first, second = (published_surrogates.surrogates("two_stream")[0][0] for _ in range(2))
    assert first is second
