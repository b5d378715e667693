"""References to the blocking originals that modules imported before patching still hold."""

from __future__ import annotations

import sys
from operator import itemgetter

from gevent._modules import imported_modules

__all__ = ["ssl_message"]


def ssl_message() -> str | None:
    """Return a warning if the original ``SSLContext`` is in use elsewhere, else ``None``."""
    ssl = sys.modules.get("ssl")
    original = getattr(ssl, "SSLContext", None)
    if original is None or original.__module__ != "ssl":
        return None
    importers = [
        f"{name} ({getattr(module, '__file__', None) or 'built-in'})"
        for name, module, names in sorted(imported_modules(), key=itemgetter(0))
        if name != "ssl"
        and not name.startswith("gevent.")
        and any(value is original for value in names.values())
    ]
    subclasses = [
        str(cls) for cls in original.__subclasses__() if not cls.__module__.startswith("gevent.")
    ]
    if not importers and not subclasses:
        return None
    message = (
        "Monkey-patching ssl after ssl has already been imported: the original SSLContext and its "
        "subclasses make cooperative sockets from now on, but TLS connections that exist stay "
        "blocking, and the new sockets are no instances of the original SSLSocket. Please "
        "monkey-patch earlier. "
    )
    if importers:
        message += f"Modules that had direct imports (NOT patched): {importers}. "
    if subclasses:
        message += f"Subclasses (NOT patched): {subclasses}. "
    return message
