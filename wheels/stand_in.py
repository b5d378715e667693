"""Writes the stand-in: a wheel of the distribution ``gevent`` that has no files.

Where pip is to install no gevent on disk, this wheel satisfies whatever asks for the distribution
gevent, and asks for gevent-rs in turn. Its version is gevent's with a local part, which sorts after
the release and satisfies ``==26.9.0`` too. It must never be uploaded: the name is gevent's.

    python wheels/stand_in.py FOLDER
"""

from __future__ import annotations

import re
import sys
import tomllib
import zipfile
from pathlib import Path

from overlay import record_line

TOP = Path(__file__).resolve().parent.parent


def metadata() -> tuple[str, str]:
    """Return the version of the stand-in and its METADATA."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    own = tomllib.loads((TOP / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    source = (TOP / "python" / "gevent" / "__init__.py").read_text()
    api = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert api, "gevent/__init__.py states no __version__"
    version = f"{api[1]}+rs{own}"

    lines = [
        "Metadata-Version: 2.1",
        "Name: gevent",
        f"Version: {version}",
        "Summary: No gevent: what asks for it gets gevent-rs",
        f"License: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        # gevent depends on zope.event and zope.interface, and so may what depends on gevent.
        f"Requires-Dist: gevent-rs[events]=={own}",
    ]
    for extra in project["optional-dependencies"]:
        lines += [
            f"Provides-Extra: {extra}",
            f'Requires-Dist: gevent-rs[{extra}]=={own}; extra == "{extra}"',
        ]
    return version, "\n".join(lines) + "\n"


def write(folder: Path) -> Path:
    """Write the wheel into *folder*, and return its path."""
    version, text = metadata()
    info = f"gevent-{version}.dist-info"
    files = {
        f"{info}/METADATA": text,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(record_line(name, content.encode()) for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"gevent-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # Without the time of day, so that the same sources give the same file.
            archive.writestr(zipfile.ZipInfo(name), content)
    return wheel


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
