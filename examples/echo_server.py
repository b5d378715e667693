"""Send every client back what it sends, with a greenlet for each.

usage: echo_server.py [HOST:]PORT      port 0 takes any free one; Ctrl-C ends the server
"""

import sys

from gevent.server import StreamServer


def echo(socket, address):
    """Serve one client until it stops sending."""
    host, port = address[:2]
    print(f"{host}:{port} connected", flush=True)
    while data := socket.recv(65536):
        socket.sendall(data)
    print(f"{host}:{port} left", flush=True)


def main() -> None:
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "16000").rpartition(":")
    server = StreamServer((host or "127.0.0.1", int(port)), echo)
    server.start()
    print(f"echo server on {server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
