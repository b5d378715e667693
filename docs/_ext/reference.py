"""Writes the pages of the reference from the package itself, and directives for its settings.

The pages are put into ``reference/api`` of the sources before Sphinx reads them: one for each
public module, whose names `public_names` finds. What they say comes from the docstrings.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from public_names import Name, default_of, module_doc, public
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

PAGES = Path(__file__).resolve().parents[1] / "reference" / "api"
#: What a special method does for each class that has it, where its docstring is silent.
PROTOCOL_DOCS = {
    "__enter__": "Begins a ``with`` block.",
    "__exit__": "Ends a ``with`` block, however that was left.",
    "__iter__": "Returns an iterator over the items.",
    "__next__": "Returns the next item.",
    "__len__": "Returns how many items there are.",
    "__contains__": "Returns true if the item is there.",
    "__bool__": "Returns the object's truth value.",
    "__call__": "Calls the object.",
}
#: What single attributes are for, by the full name of their class.
ATTRIBUTES = tomllib.loads(Path(__file__).with_name("attributes.toml").read_text())


def write_pages(app: Sphinx) -> None:
    """Write a page for each public module, and leave those that are as they were."""
    PAGES.mkdir(parents=True, exist_ok=True)
    found = public()
    pages = {f"{module}.rst": _page(module, names) for module, names in found.items()}
    pages["index.rst"] = _index(list(found))
    for stale in set(PAGES.glob("*.rst")) - {PAGES / name for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        path = PAGES / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _index(modules: list[str]) -> str:
    import gevent

    old = {path.stem for place in gevent.__path__[1:] for path in Path(place).glob("[!_]*.py")} | {
        "ares",
        "compat",
        "resolver_ares",
        "resolver_thread",
    }
    today = [name for name in modules if name.removeprefix("gevent.") not in old]
    former = [name for name in modules if name not in today]
    lines = ["Modules", "=======", ""]
    for title, chosen in (("", today), ("Modules of earlier versions", former)):
        if title:
            lines += [title, "-" * len(title), ""]
        for name in chosen:
            lines += [f":doc:`{name}`", f"   {module_doc(name)}", ""]
        lines += [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in chosen), ""]
    return "\n".join(lines)


def _page(module: str, names: list[Name]) -> str:
    lines = [module, "=" * len(module), "", f".. automodule:: {module}", ""]
    others = [name for name in names if name.described_by]
    standard = [name for name in names if name.standard]
    constants = [n for n in names if n.kind == "data" and not n.standard and not n.described_by]
    for name in names:
        if name.described_by or name.standard or name in constants:
            continue
        lines += _entry(name)
    comments = _comments(module)
    for name in constants:
        lines += [*_described(name), "", f"   {_constant(name, comments)}", ""]
    for name in others:
        lines += [*_described(name), ""]
        lines += [f"   The same as :py:obj:`{name.described_by}`.", ""]
    if standard:
        lines += ["Of the standard library", "-" * 23, ""]
        lines += ["Offered unchanged, as the standard library has them:", ""]
        lines += [", ".join(f"``{name.name}``" for name in standard) + ".", ""]
        for name in standard:
            lines += [*_described(name), "   :no-typesetting:", ""]
    return "\n".join(lines) + "\n"


def _told(kind: type, member: str) -> str | None:
    """Return what the table says about a member that has no docstring."""
    value = inspect.getattr_static(kind, member, None)
    if inspect.isfunction(value) and value.__doc__:
        return None
    for base in kind.__mro__:
        names = (full for full in ATTRIBUTES if full.rpartition(".")[2] == base.__name__)
        for full in names:
            if member in ATTRIBUTES[full]:
                return ATTRIBUTES[full][member]
    return ATTRIBUTES["*"].get(member)


def _described(name: Name) -> list[str]:
    return [f".. py:data:: {name.name}", f"   :module: {name.module}"]


def _entry(name: Name) -> list[str]:
    lines = [f".. auto{name.kind}:: {name.full}"]
    if name.kind == "function":
        return [*lines, ""]
    told = {member: text for member in name.members if (text := _told(name.value, member))}
    plain = [m for m in name.members if not m.startswith("__") and m not in told]
    special = [member for member in name.members if member.startswith("__")]
    if plain or special:
        lines += [f"   :members: {', '.join((*plain, *special))}", "   :undoc-members:"]
    if special:
        lines += [f"   :special-members: {', '.join(special)}"]
    lines += ["   :show-inheritance:", ""]
    for member, text in told.items():
        lines += [f"   .. py:attribute:: {member}", "", f"      {text}", ""]
    for member in name.nested:
        value = getattr(name.value, member)
        lines += [f"   .. py:attribute:: {member}", ""]
        lines += [f"      The class ``{value.__module__}.{value.__qualname__}``.", ""]
    for owner, members in name.inherited.items():
        links = ", ".join(f":py:obj:`{member} <{owner}.{member}>`" for member in members)
        lines += [f"   Inherited from :py:obj:`{owner}`: {links}.", ""]
    return lines


def _comments(module: str) -> dict[str, str]:
    """Return the ``#:`` comments of a module's variables."""
    try:
        found = ModuleAnalyzer.for_module(module).find_attr_docs()
    except Exception:
        return {}
    return {name: " ".join(lines).strip() for (_, name), lines in found.items()}


def _constant(name: Name, comments: dict[str, str]) -> str:
    if said := comments.get(name.name):
        return said
    value = repr(name.value)
    return (
        f"``{value}``"
        if len(value) < 80 and "0x" not in value
        else f"A ``{type(name.value).__name__}``."
    )


def add_docs(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Supply what C and the language leave without a docstring, and tidy what autodoc found."""
    last = name.rpartition(".")[2]
    home = getattr(obj, "__module__", None) or "gevent"
    if any(lines) and not home.startswith(("gevent", "greenlet")):
        # The standard library's own words are not reStructuredText.
        first = " ".join(lines[: lines.index("") if "" in lines else None])
        lines[:] = [first, "", f"Inherited from the standard library's ``{home}``.", ""]
    # The engine's docstrings put parameters into backticks, which would make them references.
    for parameter in _parameters(obj):
        lines[:] = [re.sub(rf"(?<!`)`{parameter}`(?!`)", f"*{parameter}*", line) for line in lines]
    if not any(lines):
        foreign = not home.startswith(("gevent", "greenlet"))
        inherited = f"Inherited from the standard library's ``{home}``." if foreign else ""
        lines[:] = [PROTOCOL_DOCS.get(last) or inherited, ""]


def _parameters(obj: Any) -> list[str]:
    try:
        return list(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        return []


def tidy_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, result: str
) -> tuple[str, str] | None:
    """Leave out annotations that say nothing."""
    if not signature:
        return None
    signature = re.sub(r": (~typing\.)?Any(?=[,)=\s])", "", signature)
    signature = re.sub(r"(?<=[\w]) = (?=[^,)]*[,)])", "=", signature)
    # Greenlets and handlers take what their base classes do, under names that nobody passes.
    signature = signature.replace("*_args, **_kwargs", "*args, **kwargs")
    result = None if result in ("~typing.Any", "Any") else result
    return signature, result


class Settings(SphinxDirective):
    """Every setting of ``gevent.config``: attribute, variable, default and meaning."""

    def run(self) -> list[nodes.Node]:
        from gevent import config

        lines = []
        for name, setting in config.settings.items():
            lines += [f"`{name}`, `{setting.environment_key}`"]
            lines += [f": {setting.desc} {setting.kind} Default: `{setting.default!r}`.", ""]
        return self.parse_text_to_nodes("\n".join(lines))


class Limits(SphinxDirective):
    """The limits of a class: its commented attributes that are numbers, with their defaults."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        lines = []
        comments = ModuleAnalyzer.for_module(kind.__module__).find_attr_docs()
        for (owner, attribute), comment in comments.items():
            value = default_of(kind, attribute)
            if owner == kind.__name__ and re.fullmatch(r"None|True|False|[\d.]+|\(\)", value):
                said = re.sub(r":\w+:`~?([^`]*)`|``(.*?)``", r"`\1\2`", " ".join(comment).strip())
                lines += [f"`{attribute}` = `{value}`", f": {said}", ""]
        return self.parse_text_to_nodes("\n".join(lines))


class Help(SphinxDirective):
    """What a command answers to ``--help``."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        words = self.arguments[0].split()
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            env=os.environ | {"COLUMNS": "78", "PYTHONPATH": str(PAGES.parents[2] / "python")},
            timeout=60,
            check=True,
        )
        text = done.stdout.strip()
        return [nodes.literal_block(text, text, language="text")]


class MetricFamilies(SphinxDirective):
    """A table of what ``/metrics`` of a view has."""

    def run(self) -> list[nodes.Node]:
        from gevent._metrics import FAMILIES

        lines = ["| metric | type | |", "|---|---|---|"]
        for name, family in FAMILIES.items():
            suffix = "_total" if family.kind == "counter" else ""
            label = f"{{{family.label}}}" if family.label else ""
            lines.append(f"| `{name}{suffix}{label}` | {family.kind} | {family.help} |")
        return self.parse_text_to_nodes("\n".join(lines))


class Packages(SphinxDirective):
    """A table of packages, lines of a name and a purpose, with their versions of dev.txt."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        pinned = (PAGES.parents[2] / "requirements" / "dev.txt").read_text()
        lines = ["| package | version | tried |", "|---|---|---|"]
        for line in self.content:
            name, _, purpose = line.partition(": ")
            found = re.search(rf"^{re.escape(name)}==([^;\s]+)", pinned, re.M | re.I)
            if found is None:
                raise self.error(f"requirements/dev.txt does not pin {name}")
            lines.append(f"| {name} | {found[1]} | {purpose} |")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", add_docs)
    app.connect("autodoc-process-signature", tidy_signature)
    app.add_directive("gevent-settings", Settings)
    app.add_directive("gevent-limits", Limits)
    app.add_directive("command-help", Help)
    app.add_directive("known-packages", Packages)
    app.add_directive("gevent-metrics", MetricFamilies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
