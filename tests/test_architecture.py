"""The floor plan: rooms import one way, through one another's faces, and nothing in them grows too large to read.

`docs/architecture.md` has the map. All imports count: those inside functions, those for type checkers, relative ones.
"""

import ast
import tomllib
from pathlib import Path

import architecture
import jaxtyping
import pytest
from architecture import Module
from repository import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hoam"]
ORDER: list[str] = SETTINGS["rooms"]["order"]
MODULES = architecture.modules(ROOT)
ARROWS = architecture.graph(MODULES)
# Anybody imports their modules directly: small helpers without a common face.
WITHOUT_FACE = ("_internal", "numerics")
# Public verbs, whose parameters are the interface.
VERBS = {"fit", "from_snapshots", "read", "simulate", "from_simulation", "from_terms", "nvt_nose_hoover"}


def where(module: Module, line: int) -> str:
    return f"{module.path.relative_to(ROOT)}:{line}"


def test_every_room_has_a_place_in_the_order() -> None:
    assert {module.room for module in MODULES.values()} == set(ORDER)


def test_rooms_import_only_rooms_that_come_before_them() -> None:
    upward = [
        f"{name} -> {target}"
        for name, targets in sorted(ARROWS.items())
        for target in sorted(targets)
        if ORDER.index(architecture.room_of(target)) > ORDER.index(MODULES[name].room)
    ]
    assert not upward, "\n".join(upward)


def test_no_modules_import_one_another() -> None:
    assert architecture.circles(ARROWS) == []


def test_circles_are_found(tmp_path: Path) -> None:
    files = {
        "hoam_plugin/__init__.py": "",
        "hoam_plugin/a.py": "def f():\n    from hoam_plugin import b\n",
        "hoam_plugin/b.py": "if TYPE_CHECKING:\n    from hoam_plugin.c import name\n",
        "hoam_plugin/c.py": "import hoam_plugin.a\nfrom hoam_plugin.d import name\n",
        "hoam_plugin/d.py": "",
        "adapters/__init__.py": "",
        "adapters/x/__init__.py": "from .y import name\n",
        "adapters/x/y.py": "from ..x import z\n",
        "adapters/x/z.py": "from . import name\n",
        "adapters/w.py": "from .x.y import name\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = architecture.circles(architecture.graph(architecture.modules(tmp_path)))
    inside = "hoam_plugin.adapters.x"
    assert found == [{"hoam_plugin.a", "hoam_plugin.b", "hoam_plugin.c"}, {inside, f"{inside}.y", f"{inside}.z"}]


def test_rooms_import_one_another_through_their_faces() -> None:
    past = []
    for module in MODULES.values():
        for found in architecture.imports(module):
            source = f"{found.source}.{found.name}" if found.source == "hoam_plugin" else found.source
            room = architecture.room_of(source)
            if not source.startswith("hoam_plugin.") or room in (module.room, *WITHOUT_FACE):
                continue
            # `from room import name`, or `from room.module import name` of a module that the room shows.
            shown = [*source.split(".")[2:], found.name] if found.source != "hoam_plugin" else []
            public = architecture.public_names(MODULES[f"hoam_plugin.{room}"])
            if len(shown) > 2 or (shown and public is not None and shown[0] not in public):
                past.append(f"{where(module, found.line)} {found.source} {found.name}")
    assert not past, "\n".join(past)


def test_imports_inside_simulators_and_adapters_are_relative() -> None:
    absolute = [
        where(module, found.line)
        for module in MODULES.values()
        for found in architecture.imports(module)
        if not architecture.is_relative_inside(module, found)
    ]
    assert not absolute, "\n".join(absolute)


def faces() -> list[Module]:
    """The `__init__` of every room; that of the package loads public names on first use, by code."""
    return [m for m in MODULES.values() if m.path.name == "__init__.py" and m.name != "hoam_plugin"]


def test_faces_hold_imports_and_a_list_of_names() -> None:
    code = [
        where(face, node.lineno)
        for face in faces()
        for node in face.tree.body
        if not architecture.is_import_or_list(node)
    ]
    assert not code, "\n".join(code)
    empty = [f.name for f in faces() if architecture.public_names(f) is None and len(f.tree.body) > 1]
    assert not empty, "no __all__"


def test_faces_show_nothing_private_and_no_module_beside_a_function_of_its_name() -> None:
    for face in faces():
        public = architecture.public_names(face) or set()
        assert not [name for name in public if name.startswith("_")], face.name
        functions = {found.name for found in architecture.imports(face) if found.source != face.name}
        assert not [name for name in functions & public if f"{face.name}.{name}" in MODULES], face.name


def test_modules_are_short() -> None:
    tables = {ROOT / name for name in SETTINGS["ceilings"]["tables"]}
    lines = {str(m.path.relative_to(ROOT)): m.text.count("\n") for m in MODULES.values() if m.path not in tables}
    assert not {name: n for name, n in lines.items() if n > 350}


def test_classes_have_few_public_members() -> None:
    found = {
        f"{module.name}.{node.name}": len(architecture.members(node))
        for module in MODULES.values()
        for node in module.walk(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
    }
    assert not {name: n for name, n in found.items() if n > 20}


def test_functions_are_short_and_take_few_parameters() -> None:
    long = []
    for module in MODULES.values():
        code = architecture.code_lines(module)
        for node in module.walk((ast.FunctionDef, ast.AsyncFunctionDef)):
            assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            lines, parameters = architecture.function_lines(node, code), architecture.n_parameters(node)
            if node.name not in VERBS and (lines > 60 or parameters > 10):
                long.append(f"{where(module, node.lineno)} {node.name}: {lines} lines, {parameters} parameters")
    assert not long, "\n".join(long)


def test_only_losses_know_which_losses_there_are() -> None:
    """Everything else asks a loss what it needs, so that a new loss is a new file."""
    classes = [
        node
        for module in MODULES.values()
        if module.room == "losses"
        for node in module.walk(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
    ]
    losses = {"AbstractLoss"}
    for _ in classes:  # classes derive from classes that derive from it
        losses |= {node.name for node in classes if losses & {ast.unparse(base) for base in node.bases}}
    assert {"ActionMatching", "DICE", "TrajectoryMatching", "VelocityMatching"} <= losses
    tests = [
        where(module, line)
        for module in MODULES.values()
        if module.room != "losses"
        for line in architecture.type_tests(module, losses)
    ]
    assert not tests, "\n".join(tests)


def test_only_the_contract_asks_what_a_stepper_has() -> None:
    """An AttributeError inside an optional member must not read as its absence: `steppers.abilities_of` asks."""
    asked = [
        where(module, line)
        for module in MODULES.values()
        if module.room != "steppers"
        for line in architecture.questions_to_steppers(module)
    ]
    assert not asked, "\n".join(asked)


def test_any_stands_for_ever_less() -> None:
    count, ceiling = sum(architecture.count_any(module) for module in MODULES.values()), SETTINGS["ceilings"]["any"]
    assert count <= ceiling, "say what the value is: a type, a protocol, or `object` where nothing is asked of it"
    assert count == ceiling, f"lower the ceiling of `Any` in pyproject.toml to {count}"


@pytest.mark.parametrize("name", ["hoam_plugin", "hoam_plugin.simulators", "hoam_plugin.adapters"])
def test_the_whole_package_is_read(name: str) -> None:
    assert sum(f"{other}.".startswith(f"{name}.") for other in MODULES) > 10


def test_shapes_of_arrays_are_texts() -> None:
    """`Float[Array, ...]` and `Float[Array, 2]` are errors for whoever evaluates them, as old jaxtyping does."""
    bare = [
        where(module, node.lineno)
        for module in MODULES.values()
        for node in module.walk(ast.Subscript)
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Tuple)
        and node.slice.elts
        and isinstance(node.slice.elts[-1], ast.Constant)
        and not isinstance(node.slice.elts[-1].value, str)
        and isinstance(node.value, ast.Name)
        and hasattr(jaxtyping, node.value.id)
    ]
    assert not bare, "\n".join(bare)
