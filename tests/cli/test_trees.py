"""Commands on runs of different times."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command_line import FailingCommand, hoam_command

import hoam_plugin as hoam


def tree(seed: int) -> xr.DataTree:
    rng, nodes = np.random.default_rng(seed), []
    for n_times, mu in ((5, 1.0), (3, 2.0)):
        x = rng.normal(size=(1, n_times, 60))
        nodes.append(hoam.ensemble.from_arrays(x=x, time=np.arange(float(n_times)), parameters={"mu": [mu]}))
    return hoam.ensemble.tree(nodes)


def test_commands_take_trees(tmp_path: Path, capsys: pytest.CaptureFixture[str], error: FailingCommand) -> None:
    paths = [hoam.ensemble.save(t, tmp_path / f"{i}.zarr") for i, t in enumerate((tree(0), tree(1)))]
    assert hoam_command("compare", *paths) == 0
    assert "sliced_wasserstein" in capsys.readouterr().out.replace(" ", "_")
    assert hoam_command("check", paths[0]) == 0
    assert "common ones" in capsys.readouterr().out
    assert hoam_command("info", paths[0]) == 0
    assert "runs of different times" in capsys.readouterr().out
    said = error("compare", *paths, "--plot", tmp_path / "picture.png")
    assert "an ensemble must be an xarray.Dataset" in said
