"""The source as a graph of imports, and its measures; read from any checkout, without importing it."""

import ast
import dataclasses
import functools
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# Folders of a checkout and the packages that they are.
FOLDERS = {
    "hoam_plugin": "hoam_plugin",
    "simulators": "hoam_plugin.simulators",
    "adapters": "hoam_plugin.adapters",
}
# Names under which a stepper goes.
STEPPERS = re.compile(r"(stepper|surrogate|simulator|replaces|replaced|model|chosen|learned)s?$")


@dataclasses.dataclass(frozen=True)
class Module:
    """A source file.

    Attributes:
        name: under which it is imported.
        path: of the file in the checkout.
    """

    name: str
    path: Path

    @functools.cached_property
    def text(self) -> str:
        return self.path.read_text()

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def package(self) -> str:
        """What relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def room(self) -> str:
        return room_of(self.name)

    def walk(self, kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kind))


@dataclasses.dataclass(frozen=True)
class Import:
    """One name of one import statement, wherever it stands: `from source import name`, or `import source`."""

    source: str
    name: str
    level: int
    line: int


def room_of(name: str) -> str:
    """The room of a module: the part of its name after the package's; of the package itself `__init__`."""
    return ([*name.split("."), "__init__"])[1]


def modules(root: Path) -> dict[str, Module]:
    """All modules of a checkout by the names under which they are imported."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):  # does not follow links
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found[name] = Module(name, path)
    return found


def imports(module: Module) -> list[Import]:
    """All imports: at the top, inside functions and for type checkers alike."""
    found = [Import(alias.name, "", 0, node.lineno) for node in module.walk(ast.Import) for alias in node.names]
    for node in module.walk(ast.ImportFrom):
        source = node.module or ""
        if node.level:
            above = module.package.split(".")
            source = ".".join([*above[: len(above) + 1 - node.level], *source.split(".")]).rstrip(".")
        found += [Import(source, alias.name, node.level, node.lineno) for alias in node.names]
    return found


def graph(found: Mapping[str, Module]) -> dict[str, set[str]]:
    """The modules that each module imports. `from package import module` leads to the module."""
    arrows = {}
    for name, module in found.items():
        targets = {f"{i.source}.{i.name}" if f"{i.source}.{i.name}" in found else i.source for i in imports(module)}
        arrows[name] = (targets & set(found)) - {name}
    return arrows


def circles(arrows: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """The sets of modules that import one another, directly or through others."""
    reached = {name: _reachable(name, arrows) for name in arrows}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in arrows}
    return sorted((set(group) for group in groups if group), key=lambda group: (-len(group), min(group)))


def _reachable(start: str, arrows: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += arrows[name]
    return seen


def public_names(face: Module) -> set[str] | None:
    """What `__all__` of a module lists; None where it has none."""
    for node in face.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


def is_import_or_list(node: ast.stmt) -> bool:
    """Whether a statement may stand in the face of a room: the docstring, an import, `__all__`, `__dir__`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__all__"
    if isinstance(node, ast.FunctionDef):
        return node.name == "__dir__"
    return isinstance(node, ast.Import | ast.ImportFrom)


def members(cls: ast.ClassDef) -> set[str]:
    """Public methods, properties, fields and constants that the body of a class lists."""
    names = set()
    for node in cls.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def code_lines(module: Module) -> set[int]:
    """Numbers of the lines that hold more than comments and white space."""
    ignored = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    return {line for t in tokens if t.type not in ignored for line in range(t.start[0], t.end[0] + 1)}


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, code: set[int]) -> int:
    """Lines of code of a function, its signature among them, without its docstring."""
    lines = code & set(range(function.lineno, _end(function) + 1))
    if ast.get_docstring(function, clean=False) is not None:
        first = function.body[0]
        lines -= set(range(first.lineno, _end(first) + 1))
    return len(lines)


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def n_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters of a function besides `self` and `cls`; `*args` and `**kwargs` are one each."""
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)


def type_tests(module: Module, classes: set[str]) -> list[int]:
    """Lines that ask of which class of some classes something is, or of which class a loss is."""
    lines = []
    for node in module.walk((ast.Call, ast.Compare, ast.MatchClass)):
        text = ast.unparse(node)
        names = set(re.findall(r"\w+", text))
        asked = re.match(r"(isinstance|issubclass)\(\w*(\.\w+)*\.?_?loss\b|type\(\w*(\.\w+)*\.?_?loss\)", text)
        if asked or (names & classes and re.match(r"(isinstance|issubclass|type)\(", text)):
            lines.append(node.lineno)
        if isinstance(node, ast.MatchClass) and ast.unparse(node.cls).rpartition(".")[2] in classes:
            lines.append(node.lineno)
    return lines


def questions_to_steppers(module: Module) -> list[int]:
    """Lines that ask a stepper for a member that it may lack: `hasattr`, or `getattr` with something instead."""
    lines = []
    for node in module.walk(ast.Call):
        asks = isinstance(node.func, ast.Name) and (node.func.id, len(node.args)) in {("hasattr", 2), ("getattr", 3)}
        if asks and STEPPERS.search(ast.unparse(node.args[0])):
            lines.append(node.lineno)
    return lines


def count_any(module: Module) -> int:
    """How often `Any` stands in a module; its import does not count."""
    names = sum(node.id == "Any" for node in module.walk(ast.Name))
    return names + sum(node.attr == "Any" for node in module.walk(ast.Attribute))


def is_relative_inside(module: Module, found: Import) -> bool:
    """Whether an import that stays in `simulators` or `adapters` is relative."""
    stays = module.room in ("simulators", "adapters") and f"{found.source}.".startswith(f"hoam_plugin.{module.room}.")
    return not stays or found.level > 0
