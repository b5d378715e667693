"""The WSGI server over libevent, in whose place is that of :mod:`gevent.pywsgi`."""

from __future__ import annotations

from gevent.compat import warn
from gevent.pywsgi import WSGIHandler, WSGIServer

__all__ = ["WSGIHandler", "WSGIServer"]

warn("gevent.wsgi", "gevent.pywsgi")
