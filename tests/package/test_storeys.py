"""The storeys of the engine: what a file may know of others, as ARCHITECTURE.md has it.

A file imports from its own storey and from those below. Files that import each other in a circle
can only be read together: each such circle is named here, with the one thing that it is.
"""

import re
import tomllib

import pytest
from paths import ROOT

SOURCE = ROOT / "crates" / "gevent" / "src"

#: From the ground up. A name is a folder or a file of ``crates/gevent/src``.
STOREYS = (
    ("the floor: cells, errors, arguments, the C API", "ffi cell errors args compat registered"),
    ("the kernel", "event_loop waiting greenlets hub orphan watcher structured"),
    ("what greenlets wait for", "sync queues pools sockets resolver asyncio"),
    ("servers", "servers wsgi websocket"),
)
#: The unsafe part of the kernel: its calls that park, its greenlets' first frame, its hub's slot.
KERNEL_IN_FFI = {"ffi::blocking", "ffi::entry", "ffi::hub_slot"}
#: Circles, by what they are, with the folders or files that they may go through.
CIRCLES = {
    "the kernel": {*STOREYS[1][1].split(), *KERNEL_IN_FFI},
    "the loop of asyncio and its transports": {"asyncio"},
    "a thread pool's queue and its jobs": {"pools::threadpool", "pools::job"},
}
#: Types whose fields only their file and those in the folder of its name see: others use verbs.
PRIVATE = {
    "event_loop/loop_.rs": ["Loop"],
    "greenlets/greenlet.rs": ["Greenlet"],
    "greenlets/spawn_settings.rs": ["SpawnSettings"],
    "greenlets/state.rs": ["State", "Rare"],
    "hub.rs": ["BaseHub"],
    "sockets/socket.rs": ["SocketBase", "State"],
}
#: Crates that know no Python, and which of their kind they may use.
PURE = ("reactor", "http1", "websocket", "dns", "wait", "primitives", "exclusive")


def files():
    """Return the files of the engine by module path, with their text without comments and tests."""
    found = {}
    for path in SOURCE.rglob("*.rs"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = "::".join(parts[:-1] if parts[-1] in ("mod", "lib") else parts)
        text = re.sub(r"//[^\n]*", "", path.read_text())
        found[name] = text.split("#[cfg(test)]")[0]
    return found


def expanded(tree):
    """Return the paths of a ``use`` with braces."""
    match = re.match(r"(.*?)\{(.*)\}$", tree.strip(), re.DOTALL)
    if not match:
        return [tree.strip()]
    before, inner = match.groups()
    parts, depth, last = [], 0, ""
    for character in inner + ",":
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            parts.append(last)
            last = ""
        else:
            last += character
    return [path for part in parts if part.strip() for path in expanded(before + part.strip())]


def imports():
    """Return which files each file names, by ``use`` or by a path."""
    known = files()
    edges = {}
    for name, text in known.items():
        paths = []
        for tree in re.findall(r"\buse\s+(crate::[^;]+);", text):
            paths += expanded(" ".join(tree.split()))
        paths += re.findall(r"\bcrate(?:::\w+)+", re.sub(r"\buse\s+[^;]+;", "", text))
        edges[name] = set()
        for path in paths:
            steps = re.sub(r" as .*", "", path).split("::")[1:]
            for length in range(len(steps), 0, -1):
                other = "::".join(steps[:length])
                if other in known and other != name:
                    edges[name].add(other)
                    break
    # lib.rs puts all of it together.
    edges.pop("", None)
    return edges


def storey(name):
    if name in KERNEL_IN_FFI:
        return 1
    top = name.split("::")[0]
    return next(number for number, (_, names) in enumerate(STOREYS) if top in names.split())


def circles(edges):
    """Return the sets of files that reach each other."""
    reach = {}
    for start in edges:
        seen, todo = set(), [start]
        while todo:
            for other in edges.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        reach[start] = seen
    found = []
    for name in sorted(edges):
        together = frozenset(other for other in reach[name] if name in reach.get(other, ()))
        if together and together not in found:
            found.append(together)
    return found


def test_every_file_has_a_storey():
    for name in imports():
        assert storey(name) is not None


def test_no_arrow_leads_up():
    up = [
        f"{name} -> {other}"
        for name, others in imports().items()
        for other in sorted(others)
        if storey(other) > storey(name)
    ]
    assert up == []


def test_circles_are_one_thing_each():
    found = circles(imports())

    def is_in(name, allowed):
        return name in allowed or name.split("::")[0] in allowed

    for circle in found:
        assert any(all(is_in(name, allowed) for name in circle) for allowed in CIRCLES.values()), (
            sorted(circle)
        )
    assert len(found) <= len(CIRCLES)


def test_a_circle_would_be_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"e2"}, "e2": {"e"}}
    assert circles(edges) == [frozenset("abc"), frozenset({"e", "e2"})]
    assert expanded("crate::a::{b, c::{self, D}}") == [
        "crate::a::b",
        "crate::a::c::self",
        "crate::a::c::D",
    ]


def visible_fields(text, name):
    """Return the fields of a struct that other files see."""
    fields = re.search(rf"\bstruct {name} \{{\n(.*?)\n\}}", text, re.DOTALL)[1]
    return re.findall(r"^ +pub(?:\([^)]*\))? +(\w+):", fields, re.MULTILINE)


@pytest.mark.parametrize(("file", "names"), PRIVATE.items())
def test_state_is_private(file, names):
    text = (SOURCE / file).read_text()
    assert {name: visible_fields(text, name) for name in names} == {name: [] for name in names}


def test_a_visible_field_would_be_found():
    text = "struct A {\n    a: u8,\n    pub b: u8,\n    /// C.\n    pub(crate) c: u8,\n}\n"
    assert visible_fields(text, "A") == ["b", "c"]


@pytest.mark.parametrize("crate", PURE)
def test_pure_crates_know_no_python(crate):
    manifest = tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())
    used = {*manifest.get("dependencies", {}), *manifest.get("dev-dependencies", {})}
    assert not used & {"pyo3", "gevent-core", *PURE}
