"""Dictionaries for WSGI environments that do not print what they hold."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, Self

__all__ = ["Environ", "SecureEnviron", "WSGISecureEnviron"]


class Environ(dict[str, Any]):
    """A base of classes for WSGI environments. A pickled one comes back as a plain dict."""

    __slots__ = ()

    def copy(self) -> Self:
        """Return a copy of the same class."""
        return type(self)(self)

    def iteritems(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the items."""
        return iter(self.items())

    def __reduce_ex__(self, proto: Any) -> Any:
        return dict, (), None, None, iter(self.items())


class SecureEnviron(Environ):
    """An environment whose ``repr()`` hides values.

    Each of ``secure_repr``, ``whitelist_keys`` and ``print_masked_keys`` may be set on an object;
    its default is the attribute of the class that has ``default_`` before its name.

    - ``secure_repr``: true to hide values.
    - ``whitelist_keys``: the keys whose values are printed.
    - ``print_masked_keys``: true to print the other keys, without their values.
    """

    default_secure_repr: bool = True
    default_whitelist_keys: Container[str] = ()
    default_print_masked_keys: bool = True

    __slots__ = ("print_masked_keys", "secure_repr", "whitelist_keys")

    def __getattr__(self, name: str) -> Any:
        if name in SecureEnviron.__slots__:
            return getattr(type(self), f"default_{name}")
        raise AttributeError(name)

    def __repr__(self) -> str:
        if not self.secure_repr:
            return super().__repr__()
        shown = self.whitelist_keys
        if not shown:
            return f"<pywsgi.SecureEnviron dict (keys: {len(self)}) at {id(self)}>"
        if self.print_masked_keys:
            return repr({key: self[key] if key in shown else "<MASKED>" for key in self})
        visible = {key: value for key, value in self.items() if key in shown}
        hidden = f"(hidden keys: {len(self) - len(visible)})"
        text = repr(visible)
        return f"{text[:-1]}, {hidden}}}" if visible else f"{{{hidden}}}"

    __str__ = __repr__


class WSGISecureEnviron(SecureEnviron):
    """An environment whose ``repr()`` shows the origin of a request, and nothing else."""

    default_whitelist_keys: Container[str] = ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST")
    default_print_masked_keys = False
