"""TLS for a socket that is connected, without the context that :mod:`gevent.ssl` requires today."""

from __future__ import annotations

from gevent.compat import warn
from gevent.compat.tls import SSLObject, ssl, sslerror

__all__ = ["SSLObject", "ssl", "sslerror"]

warn("gevent.sslold", "gevent.ssl.SSLContext.wrap_socket()")
