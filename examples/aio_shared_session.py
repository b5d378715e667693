"""Ask a web server from 1,000 greenlets that share one session of aiohttp, a library for asyncio.

The session keeps its connections open and bounds their number, whoever asks. Without a URL the
program asks a small server of its own, which is aiohttp's too and runs in the same thread.
"""

import time

import aiohttp
from aiohttp import web

from command_line import parser
from gevent import aio
from gevent.pool import Pool


async def open_session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections))


async def fetch(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as response:
        return len(await response.read())


async def start_server() -> tuple[web.AppRunner, str]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    return runner, f"http://{host}:{port}/"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("url", nargs="?", help="what to ask for")
    options.add_argument("--greenlets", type=int, default=1000, help="default %(default)s")
    options.add_argument("--connections", type=int, default=50, help="default %(default)s")
    chosen = options.parse_args()

    runner = None
    url = chosen.url
    if url is None:
        runner, url = aio.run(start_server())
    session = aio.run(open_session(chosen.connections))
    began = time.perf_counter()

    # Each greenlet is ordinary blocking code; all of them wait at the same time.
    def ask(_number: int) -> int:
        return aio.run(fetch(session, url))

    sizes = Pool(chosen.greenlets).map(ask, range(chosen.greenlets))
    took = time.perf_counter() - began
    print(f"{len(sizes)} answers, {sum(sizes)} bytes, {took:.2f} s")
    aio.run(session.close())
    if runner is not None:
        aio.run(runner.cleanup())


if __name__ == "__main__":
    main()
