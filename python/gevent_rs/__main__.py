"""Report which gevent an import gives, why, and which others are installed.

The exit status is 0 if it is the one that was asked for: that of gevent-rs, or with the environment
variable ``GEVENT_RS=off`` another one. It is 1 otherwise.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib import metadata

import gevent_rs

#: Ends the version of the distribution ``gevent`` that has no files and requires gevent-rs.
STAND_IN = "+rs"


def package_folder() -> str | None:
    """Return the folder that ``import gevent`` loads from, or None if nothing is found."""
    module = sys.modules.get("gevent")
    spec = module.__spec__ if module else importlib.util.find_spec("gevent")
    return os.path.dirname(spec.origin) if spec and spec.origin else None


def is_overlay(folder: str) -> bool:
    """Return true if *folder* is the overlay, by whatever name."""
    return os.path.realpath(folder or ".") == os.path.realpath(gevent_rs.OVERLAY)


def others() -> Iterator[str]:
    """Yield a line for each package ``gevent`` on the path that is not the overlay's."""
    for folder in dict.fromkeys(sys.path):
        package = os.path.join(folder, "gevent")
        if not is_overlay(folder) and os.path.isfile(os.path.join(package, "__init__.py")):
            versions = [
                found.version for found in metadata.distributions(path=[folder], name="gevent")
            ]
            name = f"gevent {versions[0]}" if versions else "a gevent of no distribution"
            yield f"{name}, in {package}{damage(package)}"


def damage(package: str) -> str:
    """Return what is wrong with the folder of another gevent, as the end of a sentence."""
    if any(name.startswith("_core.cpython-") for name in os.listdir(package)):
        return ", mixed with files of gevent-rs: uninstall both and install them again"
    return ""


def reason(folder: str | None, ours: bool) -> str:
    """Return why an import gives what it gives."""
    setting = os.environ.get("GEVENT_RS")
    stated = f"GEVENT_RS is {setting!r}" if setting else "GEVENT_RS is not set"
    overlay, home = gevent_rs.OVERLAY, os.path.dirname(gevent_rs.__path__[0])
    if ours and overlay in sys.path:
        return f"{overlay} is entry {sys.path.index(overlay)} of sys.path, and {stated}"
    if ours:
        return "its package was imported from there already"
    if gevent_rs.is_switched_off():
        return f"{stated}, which switches gevent-rs off"
    if overlay not in sys.path:
        return (
            "no start-up file of gevent-rs has run, as under python -S or in a folder of pip "
            f"install --target: set PYTHONPATH={overlay}{os.pathsep}{home}"
        )
    if "gevent" in sys.modules:
        return "a start-up file imports gevent before that of gevent-rs has run"
    return f"{os.path.dirname(folder or '')} comes before {overlay} on sys.path"


def stand_in() -> str | None:
    """Return the version of the distribution ``gevent`` without files, or None."""
    versions = (found.version for found in metadata.distributions(name="gevent"))
    return next((version for version in versions if STAND_IN in version), None)


def works() -> bool:
    """Import gevent, print what it says of itself, and return true if that went well."""
    try:
        import gevent
    except Exception as error:
        print(f"importing it fails: {type(error).__name__}: {error}")
        return False
    implementation = getattr(gevent, "__implementation__", "gevent itself")
    print(f"it is {implementation}, with the interface of gevent {gevent.__version__}")
    return True


def main() -> int:
    """Print the report and return the exit status."""
    folder = package_folder()
    ours = folder is not None and is_overlay(os.path.dirname(folder))
    if folder is None:
        print("import gevent fails: no package of that name is on sys.path")
    else:
        print(f"import gevent gives {'gevent-rs' if ours else 'another gevent'}, in {folder}")
    print(f"because {reason(folder, ours)}")
    right = folder is not None and works() and ours != gevent_rs.is_switched_off()
    for line in others():
        print(f"installed beside gevent-rs: {line}")
    if version := stand_in():
        print(f"the distribution gevent {version} has no files: it stands for gevent-rs")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
