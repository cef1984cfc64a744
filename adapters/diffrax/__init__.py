"""diffrax, both ways. Imported as `hoam_plugin.adapters.diffrax`."""

from .conversion import from_terms, solver, terms

__all__ = [
    "from_terms",
    "solver",
    "terms",
]
