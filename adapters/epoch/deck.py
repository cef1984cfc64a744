"""What the input deck beside the files says of a run: periodic axes and masses of species."""

from __future__ import annotations

from pathlib import Path

_DECK = "input.deck"
# Names of the two ends of an axis, now and in older versions; what holds for particles alone has an ending.
_ENDS = {
    "x": ("bc_x_min", "bc_x_max", "xbc_left", "xbc_right"),
    "y": ("bc_y_min", "bc_y_max", "ybc_down", "ybc_up"),
    "z": ("bc_z_min", "bc_z_max", "zbc_back", "zbc_front"),
}
_PARTICLES_ALONE = "_particle"
_ELECTRON = 9.1093837015e-31


class Deck:
    """The blocks of a deck, each a kind and its entries.

    Args:
        folder: of the run; without a deck in it nothing is known.
    """

    def __init__(self, folder: Path) -> None:
        self._blocks: list[tuple[str, dict[str, str]]] = []
        path = folder / _DECK
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        entries: dict[str, str] = {}
        for line in (line.partition("#")[0].strip() for line in lines):
            if line.startswith("begin:"):
                entries = {}
                self._blocks.append((line.removeprefix("begin:").strip(), entries))
            elif "=" in line:
                name, _, value = line.partition("=")
                entries[name.strip()] = value.strip()

    def is_periodic(self, axis: str) -> bool:
        """Whether particles that leave at either end of an axis come in at the other."""
        names = [*_ENDS[axis], *(end + _PARTICLES_ALONE for end in _ENDS[axis])]
        blocks = [entries for kind, entries in self._blocks if kind == "boundaries"]
        said = [entries[name] for entries in blocks for name in names if name in entries]
        return len(said) >= 2 and set(said) == {"periodic"}

    def mass(self, species: str) -> float | None:
        """In kg; None where it is not said, or by a formula."""
        for kind, entries in self._blocks:
            if kind == "species" and entries.get("name") == species:
                try:
                    return float(entries.get("mass", "")) * _ELECTRON
                except ValueError:
                    return None
        return None
