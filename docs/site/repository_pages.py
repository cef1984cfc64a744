"""What pages and docstrings that are written to be read as they are need on a site."""

import inspect
import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# Where a name in a docstring is looked for, beside its own module.
NAMESPACES = ("hoam_plugin", "hoam_plugin.simulators", "hoam_plugin.steppers", "hoam_plugin.losses")


def as_written(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep |x| an absolute value, which would be a substitution, and an argument's name itself, not a function's."""
    try:
        own = set(inspect.signature(obj).parameters) if callable(obj) else set()
    except ValueError:
        own = set()
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        for j, part in enumerate(parts):
            if not part.startswith("`"):
                parts[j] = part.replace("|", r"\|")
            elif part.strip("`") in own:
                parts[j] = f"`{part}`"
        lines[i] = "".join(parts)


def named_types(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Shared types by their names alone, inside of others too, where Sphinx shows how it remembers them."""
    short = [text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returned)]
    return short[0], short[1]


def public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """A link from a name in backticks to where the reference has it."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removeprefix("hoam.").removesuffix("()")
    objects = env.get_domain("py").objects
    for namespace in NAMESPACES:
        found = objects.get(f"{namespace}.{target}")
        if found:
            uri = app.builder.get_relative_uri(node["refdoc"], found.docname) + f"#{found.node_id}"
            return nodes.reference("", "", content, refuri=uri, internal=True)
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_written)
    app.connect("autodoc-process-signature", named_types)
    app.connect("missing-reference", public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
