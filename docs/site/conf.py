"""The documentation site: `nox -s docs` builds it, `sphinx-build -c docs/site . build/site` the same by hand.

Its pages are the Markdown files of the repository where they lie, so that the web view of the repository and the site
show the same text, and relative links hold in both.
"""

import importlib.metadata
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "hoam-plugin"
author = "the authors of hoam-plugin"
copyright = author
release = importlib.metadata.version("hoam-plugin")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "notebooks",
    "repository_pages",
]

# Pages lie where they are read in the repository.
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**.md",
    "docs/notebooks/*.ipynb",
    "benchmarks/**.md",
]
html_additional_pages = {"index": "to_the_landing_page.html"}

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4  # links such as method.md#long-trainings
myst_dmath_double_inline = True

html_theme = "pydata_sphinx_theme"
html_title = "hoam-plugin"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
templates_path = ["templates"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}

# Docstrings: a name in backticks is a link where it leads somewhere.
default_role = "py:obj"
add_module_names = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Key", "Numbers", "Parameters", "Scalar", "Times")}
python_maximum_signature_line_length = 90
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
