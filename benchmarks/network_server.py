"""Serve one connection kind on 127.0.0.1, for a load generator.

    python network_server.py {gevent,uvloop} {echo,close,send}

prints a line of JSON, the port and what serves it, and serves until it is killed. `echo` sends back
what comes; `close` ends each connection at once; `send` sends a gibibyte and ends.
"""

import json
import sys

#: What one read asks for.
ROOM = 65536
GIBIBYTE = 1 << 30


def _announce(port: int, implementation: str) -> None:
    print(json.dumps({"port": port, "implementation": implementation}), flush=True)


def _gevent(mode: str) -> None:
    from gevent.server import StreamServer
    from operations import implementation

    def echo(sock, _address):
        while data := sock.recv(ROOM):
            sock.sendall(data)

    def close(_sock, _address):
        pass

    def send(sock, _address):
        sock.sendall(bytes(GIBIBYTE))

    handler = {"echo": echo, "close": close, "send": send}[mode]
    server = StreamServer(("127.0.0.1", 0), handler)
    server.start()
    _announce(server.server_port, implementation())
    server.serve_forever()


def _uvloop(mode: str) -> None:
    import asyncio

    import uvloop

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    class Close(asyncio.Protocol):
        def connection_made(self, transport):
            transport.close()

    class Send(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(bytes(GIBIBYTE))
            transport.close()

    protocol = {"echo": Echo, "close": Close, "send": Send}[mode]

    async def serve():
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        _announce(server.sockets[0].getsockname()[1], f"uvloop {uvloop.__version__}")
        await server.serve_forever()

    uvloop.run(serve())


if __name__ == "__main__":
    engine, mode = sys.argv[1:]
    {"gevent": _gevent, "uvloop": _uvloop}[engine](mode)
