"""The code of the pages on jax-md runs."""

import re

import jax
import numpy as np
import pytest
from repository import ROOT

from hoam_plugin.adapters.jax_md.jax_md_modules import usual_promotions

PAGE = ROOT / "docs" / "jax_md.md"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_docs_of_the_swap_in_jax_md():
    page = ROOT / "docs" / "howto" / "swap_in_jax_md.md"
    scope = {}
    with usual_promotions():
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            exec(compile(block.replace("n_samples=16", "n_samples=4"), str(page), "exec"), scope)
    assert scope["state"].position.shape == (16, 2)
    # The program runs jax-md's own energy again.
    assert not np.allclose(scope["program"](100).position, scope["state"].position)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_docs_of_jax_md():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    scope = {}
    small = "replaces=stepper, training=hoam.Training(iterations=4, block=2, n_samples=64), progress=False)"
    with usual_promotions():
        for block in blocks:
            exec(compile(block.replace("replaces=stepper)", small), str(PAGE), "exec"), scope)
            if "liquid" in block:
                assert scope["state"].position.shape == (64, 2)
                assert np.isfinite(scope["state"].position).all()
        assert np.isfinite(scope["state"].position).all()
        assert "pairs: " in scope["liquid"].history.attrs["verdict"]
        assert float(scope["state"].time) == pytest.approx(2.0)
        assert float(scope["late"].time) == pytest.approx(6.0)
        # The last block made its pair with the surrogate.
        assert hasattr(scope["init_fn"](jax.random.key(0), scope["lattice"](jax.random.key(1), {})), "time")
