"""The WSGI application of the comparison, and the servers that are started from Python."""

import sys

BIG = b"x" * (1 << 20)
PART = b"y" * 4096


def application(environ, start_response):
    """Say hello, send a large body or a stream, or count the bytes of an upload."""
    path = environ["PATH_INFO"]
    if path == "/big":
        start_response("200 OK", [("Content-Length", str(len(BIG)))])
        return [BIG]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (PART for _ in range(64))
    body = b"hello world"
    if path == "/upload":
        read = environ["wsgi.input"].read
        body = b"%d" % sum(len(part) for part in iter(lambda: read(65536), b""))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def pywsgi(port: int, certificate: str | None = None) -> None:
    """Serve by `gevent.pywsgi`, with TCP_NODELAY set whoever provides it.

    With a certificate, whose file has its key too, it serves over TLS.
    """
    from socket import IPPROTO_TCP, TCP_NODELAY

    from gevent.pywsgi import WSGIServer

    secure = {}
    if certificate is not None:
        from gevent.ssl import PROTOCOL_TLS_SERVER, SSLContext

        secure["ssl_context"] = SSLContext(PROTOCOL_TLS_SERVER)
        secure["ssl_context"].load_cert_chain(certificate)
    server = WSGIServer(("127.0.0.1", port), application, backlog=4096, log=None, **secure)
    server.init_socket()
    server.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    server.serve_forever()


def bjoern(port: int) -> None:
    """Serve by bjoern."""
    import bjoern

    bjoern.run(application, "127.0.0.1", port)


if __name__ == "__main__":
    {"pywsgi": pywsgi, "bjoern": bjoern}[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:])
