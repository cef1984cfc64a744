"""Formulas as MathML, made while building: pages need neither a script nor the network for them.

Browsers lay MathML out by themselves, with the tables of a font for mathematics. Not every system has one, so the site
brings its own: of STIX Two Math, as it comes with ziamath, what the pages use.
"""

import importlib.util
import io
from pathlib import Path

from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from math_core import LatexToMathML
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

FONT = "stix-two-math.woff"
# Letters, Greek, arrows, operators, and the mathematical alphabets.
RANGES = ((0x20, 0x17F), (0x370, 0x3FF), (0x2000, 0x23FF), (0x27E6, 0x27EF), (0x2A00, 0x2AFF), (0x1D400, 0x1D7FF))
CONVERTER = LatexToMathML()


def formula(node: nodes.Element, *, display: bool) -> str:
    """MathML of one formula; an unknown command ends the build with its name."""
    return CONVERTER.convert_with_local_state(node.astext(), displaystyle=display)


def inline(translator: HTML5Translator, node: nodes.Element) -> None:
    """A formula in a line of text."""
    translator.body.append(formula(node, display=False))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.Element) -> None:
    """A formula by itself, which scrolls where the screen is narrower."""
    translator.body.append(f'<div class="formula">{formula(node, display=True)}</div>\n')
    raise nodes.SkipNode


def write_font(app: Sphinx, error: Exception | None) -> None:
    """Put the font for mathematics beside the style sheets."""
    if error is not None or app.builder.format != "html":
        return
    package = importlib.util.find_spec("ziamath")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"
    options = subset.Options(layout_features=["ssty", "dtls"], flavor="woff")
    font = TTFont(io.BytesIO(source.read_bytes()))
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes=[code for low, high in RANGES for code in range(low, high + 1)])
    chosen.subset(font)
    subset.save_font(font, str(Path(app.outdir) / "_static" / FONT), options)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
