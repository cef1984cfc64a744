"""The wheel: what is in it, that it imports away from the checkout, and that importing stays light."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from repository import ROOT

import hoam_plugin as hoam

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
HEAVY = ("jax_md", "diffrax", "matplotlib", "ott", "zarr", "flax", "optax", "interpax", "netCDF4", "dask")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the tracked sources so that no build folder appears in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "hoam_plugin",
        "simulators",
        "adapters",
        "tests",
        "benchmarks",
    ):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder as pip leaves it: the wheel's files, unpacked."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def python(code: str, *, path: Path, cwd: Path) -> str:
    environment = {"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_installs_one_top_level_module(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"hoam_plugin", f"hoam_plugin-{VERSION}.dist-info"}
    assert {"hoam_plugin/py.typed", "hoam_plugin/simulators/__init__.py", "hoam_plugin/adapters/__init__.py"} <= set(
        names
    )


def test_the_wheel_holds_the_surrogates_that_come_with_the_package(wheel, installed, tmp_path):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {p.name for p in (ROOT / "hoam_plugin" / "shipped" / "models").iterdir()}
    assert {"two_stream.hoam", "scores.json"} <= files
    assert {f"hoam_plugin/shipped/models/{name}" for name in files} <= names
    code = "import hoam_plugin as hoam; print(hoam.pretrained('two_stream').ranges)"
    assert python(code, path=installed, cwd=tmp_path).strip() == "{'mu': (1.2, 1.9)}"


def test_changelog_and_citation_have_the_version():
    changelog, citation = (ROOT / "CHANGELOG.md").read_text(), (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## \[{re.escape(VERSION)}\]", changelog, re.MULTILINE)
    assert f"\nversion: {VERSION}\n" in citation


def modules() -> set[str]:
    """All modules of the checkout by their paths in the package; two folders lie beside it."""
    found = {p.relative_to(ROOT / "hoam_plugin") for p in (ROOT / "hoam_plugin").glob("*.py")}
    rooms = [p for p in (ROOT / "hoam_plugin").iterdir() if p.is_dir() and not p.is_symlink()]
    for folder in (*rooms, ROOT / "simulators", ROOT / "adapters"):
        found |= {folder.name / p.relative_to(folder) for p in folder.rglob("*.py")}
    return {path.as_posix() for path in found}


def test_the_wheel_holds_every_module_of_the_checkout(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for module in modules():
        assert f"hoam_plugin/{module}" in names
    assert {name for name in names if name.endswith(".py")} == {f"hoam_plugin/{module}" for module in modules()}


def test_the_wheel_declares_its_entry_points(wheel):
    text = zipfile.ZipFile(wheel).read(f"hoam_plugin-{VERSION}.dist-info/entry_points.txt").decode()
    assert "hoam = hoam_plugin.__main__:main" in text
    assert "two_stream = hoam_plugin.simulators:two_stream" in text
    assert "hoam = hoam_plugin.accessor:EnsembleEngine" in text


def test_the_version_is_that_of_the_metadata(installed, tmp_path):
    assert python("import hoam_plugin; print(hoam_plugin.__version__)", path=installed, cwd=tmp_path).strip() == VERSION
    assert hoam.__version__ == VERSION  # editable


@pytest.mark.long
def test_every_module_of_the_wheel_imports_away_from_the_checkout(installed, tmp_path):
    code = """
import importlib, pathlib, hoam_plugin
root = pathlib.Path(hoam_plugin.__file__).parent
for file in sorted(root.rglob("*.py")):
    if file.name != "__main__.py":
        parts = file.relative_to(root.parent).with_suffix("").parts
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        assert pathlib.Path(module.__file__).is_relative_to(root), module
print(root)
"""
    assert python(code, path=installed, cwd=tmp_path).strip() == str(installed / "hoam_plugin")


def test_datasets_that_xarray_opens_have_the_accessor(installed, tmp_path):
    code = """
import sys, xarray as xr
xr.Dataset({"x": (("run", "time", "sample"), [[[0.5, 1.5]]])}, {"time": [0.0]}).to_zarr("truth.zarr", zarr_format=2)
assert "hoam_plugin" not in sys.modules
ds = xr.open_dataset("truth.zarr")
assert "jax" not in sys.modules, "opening a file must not load what no ensemble needs"
ds.hoam.validate()
print(xr.open_dataset("truth.zarr", engine="hoam").hoam.to_samples().sizes["component"])
"""
    assert python(code, path=installed, cwd=tmp_path).strip() == "1"


@pytest.mark.long
def test_the_wheel_runs_away_from_the_checkout(installed, tmp_path):
    code = """
import jax, hoam_plugin as hoam
from hoam_plugin import simulators
ds = hoam.simulate(simulators.two_stream(n_cells=16), {"mu": [1.3]}, [0.0, 0.1], key=jax.random.key(0), n_samples=8,
                   progress=False)
print(dict(ds.sizes))
"""
    assert "'sample': 8" in python(code, path=installed, cwd=tmp_path)


@pytest.mark.parametrize("module", ["hoam_plugin", "hoam_plugin.simulators", "hoam_plugin.adapters"])
def test_importing_pulls_in_nothing_heavy(module, tmp_path):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented():
    import hoam_plugin

    for name in dir(hoam_plugin):
        if not name.startswith("_"):
            assert getattr(hoam_plugin, name).__doc__, name
