"""What has to hold, by name: `nox` runs all of it, `nox -s lint types` some, `nox -l` lists it; `.ci/run` calls this.

Every session has an environment of its own. With `--no-venv` all of them use the one that nox runs in.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["tests", "long", "lint", "types", "docs", "wheel", "lowest"]
nox.options.error_on_missing_interpreters = True
ROOT = Path(__file__).parent
# Nothing but the tracked sources and files that are not tracked yet: no builds of before, no caches.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "hoam_plugin", "simulators", "adapters")


def install(session: nox.Session, *arguments: str) -> None:
    """Install with pip, with `--no-venv` too."""
    session.run("python", "-m", "pip", "install", "--quiet", *arguments)


def run(session: nox.Session, *command: str) -> None:
    """Run a command without a screen."""
    session.run(*command, env={"MPLBACKEND": "Agg"})


def built(session: nox.Session) -> Path:
    """The wheel, made from the source distribution, which is made from a copy of the sources."""
    install(session, "build>=1.2", "setuptools>=77", "twine>=6.1")
    source, out = Path(session.create_tmp()) / "source", Path(session.create_tmp()) / "dist"
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(out), str(source), silent=True)
    session.run("python", "-m", "twine", "check", "--strict", *map(str, sorted(out.iterdir())))
    (wheel,) = out.glob("*.whl")
    return wheel.resolve()


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, as the README runs it."""
    install(session, "-e", ".[test]")
    run(session, "python", "-m", "pytest", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """Tests that take longer than a few seconds."""
    install(session, "-e", ".[test]")
    run(session, "python", "-m", "pytest", "-m", "long and not slow", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Tests that take longer than a minute, and costly variants."""
    install(session, "-e", ".[test]")
    run(session, "python", "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Layout and style of the code."""
    install(session, "ruff>=0.9")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy on the wheel as users install it; mypy and pyright on a user's script against the editable install."""
    install(session, "-e", ".[test]", "pyright[nodejs]>=1.1.400")
    wheel = built(session)
    site = wheel.parent.parent / "site"
    shutil.rmtree(site, ignore_errors=True)
    install(session, "--no-deps", "--target", str(site), str(wheel))
    settings = str(ROOT / "pyproject.toml")
    with session.chdir(site):
        session.run("python", "-m", "mypy", "--config-file", settings, "-p", "hoam_plugin")
    user = site.parent / "user"
    user.mkdir(exist_ok=True)
    script = shutil.copy(ROOT / "tests" / "packaging" / "typed_user.py", user)
    with session.chdir(user):
        session.run("python", "-m", "mypy", "--strict", script)
        session.run("pyright", script)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in `build/site`; a warning, a link that leads nowhere, is an error."""
    install(session, "-e", ".[docs]")
    shutil.rmtree(ROOT / "build" / "site", ignore_errors=True)
    strict = ("--fail-on-warning", "--keep-going", "--fresh-env", "--quiet")
    session.run("python", "-m", "sphinx", *strict, "--conf-dir", "docs/site", ".", "build/site")
    session.run("python", "docs/site/check_links.py", "build/site")


@nox.session
def pages(session: nox.Session) -> None:
    """The code of all pages and notebooks runs, at small size, and links lead somewhere."""
    install(session, "-e", ".[test]")
    run(session, "python", "-m", "pytest", "-m", "not slow", "tests/docs", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel, installed into an environment of its own, works away from the checkout."""
    found = built(session)
    fresh = found.parent.parent / "fresh"
    session.run("python", "-m", "venv", "--clear", str(fresh))
    python = str(next(p for p in (fresh / "bin" / "python", fresh / "Scripts" / "python.exe") if p.exists()))
    session.run(python, "-m", "pip", "install", "--quiet", str(found), external=True)
    script = str(ROOT / "tests" / "packaging" / "first_steps.py")
    with session.chdir(fresh):
        session.run(python, script, external=True)
        session.run(python, "-m", "hoam_plugin", "list", external=True, silent=True)
        quick = ("demo", "--quick", "--quiet", "--overwrite", "--output", "demo")
        session.run(python, "-m", "hoam_plugin", *quick, env={"MPLBACKEND": "Agg"}, external=True)


@nox.session
def lowest(session: nox.Session) -> None:
    """The lowest version of each dependency that pyproject.toml allows: all modules import, the first steps run."""
    if session.virtualenv.is_sandboxed is False:
        session.skip("would replace the packages of the environment")
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in lowest_versions()))
    install(session, "--constraint", str(constraints.resolve()), "-e", ".[all]")
    script = str(ROOT / "tests" / "packaging" / "first_steps.py")
    with session.chdir(session.create_tmp()):
        run(session, "python", script)
        words = ("two_stream", "-p", "mu=1.25", "--times", "0,1", "--samples", "64", "--overwrite", "-o", "first.zarr")
        run(session, "hoam", "simulate", *words)
        run(session, "hoam", "simulate", "--config", "first.zarr.config.toml", "--overwrite", "-o", "again.zarr")
        session.run("hoam", "compare", "first.zarr", "again.zarr", "--json", silent=True)


def lowest_versions() -> Iterator[str]:
    """`name==version` of the lowest version of every dependency and extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][name] for name in ("jax-md", "ot", "netcdf", "dask")]
    for requirement in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        name, version = re.match(r"([\w.-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        yield f"{name}=={version}"
