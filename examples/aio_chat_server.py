"""A chat server of asyncio that keeps what was said in a database with a blocking driver.

Ctrl-C ends the server. Join with telnet; what one says, all the others read, and who comes later is
shown the last lines. The server is written with coroutines. The database is SQLite by the standard
library; its calls run in a greenlet each, and may use locks and pools of greenlets.
"""

import asyncio
import sqlite3
from contextlib import closing, suppress

import gevent
from command_line import server_parser
from gevent import aio
from gevent.lock import RLock

SHOWN = 10


class History:
    """Keeps the messages in a database that one greenlet uses at a time."""

    def __init__(self, path: str) -> None:
        self.lock = RLock()
        self.connection = sqlite3.connect(path)
        with self.connection:
            self.connection.execute("CREATE TABLE IF NOT EXISTS lines (name TEXT, line TEXT)")

    def add(self, name: str, line: str) -> None:
        with self.lock, self.connection:
            self.connection.execute("INSERT INTO lines VALUES (?, ?)", (name, line))
            # As a driver does that talks to a server over a socket.
            gevent.sleep(0.001)

    def last(self) -> list[tuple[str, str]]:
        query = "SELECT name, line FROM lines ORDER BY rowid DESC LIMIT ?"
        with self.lock, closing(self.connection.execute(query, (SHOWN,))) as rows:
            return rows.fetchall()[::-1]


class Room:
    """Everybody who is connected."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.guests: dict[str, asyncio.StreamWriter] = {}

    def say(self, line: str, but: str = "") -> None:
        for name, writer in self.guests.items():
            if name != but:
                writer.write(f"{line}\r\n".encode())

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one guest, from the name to the end of input."""
        writer.write(b"Your name? ")
        name = (await reader.readline()).decode(errors="replace").strip()
        if not name or name in self.guests:
            writer.write(b"That name is taken.\r\n")
            writer.close()
            return
        for said_by, line in await aio.to_greenlet(self.history.last):
            writer.write(f"{said_by}: {line}\r\n".encode())
        self.guests[name] = writer
        self.say(f"* {name} is here")
        # A guest who is reset, or writes a line without an end, has left.
        with suppress(ConnectionError, ValueError):
            while data := await reader.readline():
                line = data.decode(errors="replace").strip()
                self.say(f"{name}: {line}", but=name)
                await aio.to_greenlet(self.history.add, name, line)
        del self.guests[name]
        self.say(f"* {name} has left")
        writer.close()


async def serve(address: tuple[str, int], room: Room) -> None:
    server = await asyncio.start_server(room.enter, *address)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"{host}:{port}", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    options = server_parser(__doc__)
    options.add_argument("--database", default=":memory:", help="a file, default %(default)s")
    chosen = options.parse_args()
    room = Room(History(chosen.database))
    with suppress(KeyboardInterrupt):
        aio.run(serve(chosen.listen, room))


if __name__ == "__main__":
    main()
