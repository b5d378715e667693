"""TLS for a socket that is connected, without the context that :mod:`gevent.ssl` wants today."""

from __future__ import annotations

from ssl import SSLError as sslerror
from typing import Any

from gevent.ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext, SSLSocket

__all__ = ["SSLObject", "ssl", "sslerror", "wrap_ssl"]

#: The type that :func:`ssl` returns.
SSLObject = SSLSocket


def ssl(sock: Any, keyfile: str | None = None, certificate: str | None = None) -> SSLSocket:
    """Return a TLS connection over *sock*, which is connected, after the handshake.

    As in gevent 0.13, the server's certificate is not checked, so any server is accepted.

    :param keyfile: The file of the private key to show who we are.
    :param certificate: The file of the certificate for that key.
    :raises sslerror: The handshake failed.
    """
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, keyfile)
    return context.wrap_socket(sock)


#: The name of :func:`ssl` before gevent 0.12.
wrap_ssl = ssl
