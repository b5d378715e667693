"""TLS connections to the servers of the `serve` fixture."""

from gevent import socket


def connect(web, context, name="localhost"):
    """Connect to a server over TLS, with `name` as the host that is asked for."""
    sock = socket.create_connection(web.server.address[:2])
    sock.settimeout(20)
    return context.wrap_socket(sock, server_hostname=name)
