"""Every public name has an entry in the reference, and every entry says something."""

import importlib
import inspect
import re
import zlib

import public_names


def entries(site):
    """Return the names of the reference's index, which Sphinx writes for other sites."""
    data = (site / "objects.inv").read_bytes()
    lines = zlib.decompress(data.split(b"\n", 4)[4]).decode().splitlines()
    return {line.split(" ")[0] for line in lines if " py:" in line}


def test_no_public_name_is_missing(site):
    found = list(public_names.documented(entries(site)))
    missing = [name for name, there in found if not there]
    print(f"{len(found) - len(missing)} of {len(found)} public names are documented")
    assert not missing
    # The names of gevent 26.9.0 alone are more than these.
    assert len(found) > 2000


def test_every_module_is_there(site):
    modules = {module.__name__ for module in public_names.modules()}
    assert modules <= entries(site)
    for name in ("gevent", "gevent.pywsgi", "gevent.socket", "gevent.websocket", "gevent.wsgi"):
        assert name in modules


def test_every_entry_says_something():
    # Of classes and functions of our own; attributes may be told by their class.
    silent = [
        name.full
        for names in public_names.public().values()
        for name in names
        if not (name.standard or name.described_by or name.kind == "data")
        and not inspect.getdoc(name.value)
    ]
    assert not silent


def test_every_refusal_is_explained(site):
    source = (site.parents[1] / "crates" / "http1" / "src" / "refusal.rs").read_text()
    reasons = set(re.findall(r'#\[error\("(.+?)"\)\]', source))
    page = (site.parents[1] / "docs" / "explanation" / "refusals.md").read_text()
    explained = set(re.findall(r"^\| ([^|`]+?) \| \d{3} \|", page, re.MULTILINE))
    assert reasons == explained


def sources(site, *suffixes):
    """Return the texts of the package's sources."""
    top = site.parents[1]
    return [
        path.read_text()
        for folder in ("python", "crates")
        for path in (top / folder).rglob("*")
        if path.suffix in suffixes
    ]


def test_every_environment_variable_is_described(site):
    pattern = r'"((?:GEVENT|GEVENTARES|EVENT_NO)[A-Z]*(?:_[A-Z]+)*|WEB_CONCURRENCY)"'
    found = {name for text in sources(site, ".py", ".rs") for name in re.findall(pattern, text)}
    page = (site / "reference" / "settings.html").read_text()
    assert len(found) > 25
    assert not {name for name in found if name not in page}


def test_every_command_is_described(site):
    folder = site.parents[1] / "python"
    commands = {
        ".".join(path.parent.relative_to(folder).parts) for path in folder.rglob("__main__.py")
    }
    commands |= {
        ".".join(path.relative_to(folder).with_suffix("").parts)
        for path in folder.rglob("[!_]*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    }
    page = (site.parents[1] / "docs" / "reference" / "commands.md").read_text()
    assert {"gevent.serve", "gevent.monkey", "gevent_rs"} <= commands
    assert not {name for name in commands if f"## python -m {name}\n" not in page}


def test_no_attribute_of_the_table_is_stale():
    import reference

    for owner, attributes in reference.ATTRIBUTES.items():
        if owner == "*":
            continue
        module, _, name = owner.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        assert set(attributes) <= set(dir(kind)), owner


def test_every_member_says_something(site):
    silent = []
    for path in (site / "reference" / "api").glob("*.html"):
        found = re.findall(
            r'<dt class="sig[^>]*id="(gevent[\w.]+)">(?:(?!</dt>).)*</dt>\s*<dd></dd>',
            path.read_text(),
            re.DOTALL,
        )
        silent += found
    # Those of the standard library have their description there.
    assert [name for name in silent if not name.startswith("gevent.ssl.")] == []
