"""Libraries for asyncio, called by greenlets of one thread, in a patched process and in another.

usage: async_libraries.py FUNCTION patched|exempt|plain [ARGUMENT ...]

The process is patched, patched but for grpc, or not patched.
"""

import sys

if sys.argv[2] != "plain":
    from gevent import monkey

    monkey.patch_all(exempt=["grpc"] if sys.argv[2] == "exempt" else [])

import asyncio
import json
import ssl
from contextlib import asynccontextmanager

import gevent
from gevent import aio
from gevent.pool import Pool

GREENLETS = 100


def all_at_once(call, count=GREENLETS):
    """Return how many of *count* greenlets got what they should from ``call(number)``."""
    return sum(Pool(count).imap_unordered(call, range(count)))


def port_of(server):
    return server.sockets[0].getsockname()[1]


def time_out(make):
    """Return whether a greenlet's timeout ended the coroutine ``make()``."""
    with gevent.Timeout(0.05, False):
        aio.run(make())
        return False
    return True


def kill(make):
    """Return whether a kill ended a greenlet in the coroutine ``make()``."""
    greenlet = aio.spawn(make())
    gevent.sleep(0.05)
    greenlet.kill(timeout=10)
    return greenlet.dead


async def _aiohttp_site():
    from aiohttp import WSMsgType, web

    async def echo(request):
        await asyncio.sleep(0.01)
        return web.json_response({"got": (await request.text()), "path": request.path})

    async def slow(request):
        await asyncio.sleep(60)

    async def socket(request):
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            if message.type == WSMsgType.TEXT:
                await response.send_str(message.data.upper())
        return response

    async def blocking(request):
        # A function that blocks only its greenlet.
        await aio.to_greenlet(gevent.sleep, 0.01)
        return web.Response(text="blocked")

    app = web.Application()
    app.router.add_post("/echo/{number}", echo)
    app.router.add_get("/slow", slow)
    app.router.add_get("/socket", socket)
    app.router.add_get("/blocking", blocking)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{port_of(site._server)}"


def aiohttp_client():
    """One session shared by all greenlets; the server runs in the same loop."""
    import aiohttp

    async def open_session():
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20))

    async def post(number):
        async with session.post(f"{url}/echo/{number}", data=str(number)) as response:
            return await response.json() == {"got": str(number), "path": f"/echo/{number}"}

    async def get(path):
        async with session.get(url + path) as response:
            return await response.text()

    async def talk(number):
        async with session.ws_connect(f"{url}/socket") as socket:
            await socket.send_str(f"hello {number}")
            return await socket.receive_str() == f"HELLO {number}"

    runner, url = aio.run(_aiohttp_site())
    session = aio.run(open_session())
    result = {
        "posted": all_at_once(lambda number: aio.run(post(number))),
        "talked": all_at_once(lambda number: aio.run(talk(number)), 20),
        "blocking": aio.run(get("/blocking")),
        "timed out": time_out(lambda: get("/slow")),
        "killed": kill(lambda: get("/slow")),
        "after": all_at_once(lambda number: aio.run(post(number)), 20),
    }
    aio.run(session.close())
    aio.run(runner.cleanup())
    return result


def httpx_client():
    """One client shared by all greenlets, and a response streamed to a greenlet."""
    import httpx

    async def post(number):
        response = await client.post(f"{url}/echo/{number}", content=str(number))
        return response.json()["got"] == str(number)

    async def stream():
        async with client.stream("POST", f"{url}/echo/1", content="x" * 100_000) as response:
            async for chunk in response.aiter_bytes():
                yield chunk

    async def slow():
        await client.get(f"{url}/slow")

    runner, url = aio.run(_aiohttp_site())
    client = httpx.AsyncClient(timeout=30, trust_env=False)
    result = {
        "posted": all_at_once(lambda number: aio.run(post(number))),
        "streamed": len(json.loads(b"".join(aio.iterate(stream())))["got"]),
        "timed out": time_out(slow),
        "after": all_at_once(lambda number: aio.run(post(number)), 20),
    }
    aio.run(client.aclose())
    aio.run(runner.cleanup())
    return result


def websockets_echo():
    """A server and its clients; each connection is used by two greenlets."""
    import websockets

    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async def serve():
        return await websockets.serve(echo, "127.0.0.1", 0)

    async def connect():
        return await websockets.connect(f"ws://127.0.0.1:{port_of(server)}", proxy=None)

    def talk(number):
        connection = aio.run(connect())
        sender = gevent.spawn(
            lambda: [aio.run(connection.send(f"{number}.{turn}")) for turn in range(10)]
        )
        with aio.iterate(connection) as messages:
            right = [next(messages) for _ in range(10)] == [
                f"{number}.{turn}" for turn in range(10)
            ]
        sender.get()
        aio.run(connection.close())
        return right

    async def close():
        server.close()
        await server.wait_closed()

    server = aio.run(serve())
    right = all_at_once(talk, 20)
    aio.run(close())
    return right


def tls_streams(certificate):
    """Streams over TLS, each in a loop of its own greenlet and in the shared one."""

    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def serve():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        return await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)

    async def talk(number):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusted, server_hostname="localhost"
        )
        line = b"%d" % number * 1000 + b"\n"
        writer.write(line)
        right = await reader.readline() == line
        writer.close()
        await writer.wait_closed()
        return right

    def talk_in_own_loop(number):
        with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
            return runner.run(talk(number))

    trusted = ssl.create_default_context(cafile=certificate)
    server = aio.run(serve())
    port = port_of(server)
    result = {
        "shared": all_at_once(lambda number: aio.run(talk(number)), 20),
        "own": all_at_once(talk_in_own_loop, 20),
    }
    server.close()
    return result


def asyncpg_pool(parameters):
    """A pool shared by all greenlets, which outlives queries that are cut short."""
    import asyncpg

    settings = dict(pair.split("=") for pair in parameters.split())

    async def open_pool():
        return await asyncpg.create_pool(
            host=settings["host"],
            user=settings["user"],
            database=settings["dbname"],
            min_size=1,
            max_size=10,
        )

    async def ask(number):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_sleep(0.01)")
            return await connection.fetchval("SELECT $1::int * 2", number) == number * 2

    async def rows():
        async with pool.acquire() as connection, connection.transaction():
            async for row in connection.cursor("SELECT generate_series(1, 1000) AS number"):
                yield row["number"]

    async def slow():
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_sleep(60)")

    pool = aio.run(open_pool())
    result = {
        "right": all_at_once(lambda number: aio.run(ask(number))),
        "rows": sum(aio.iterate(rows())),
        "timed out": sum(Pool(20).imap_unordered(lambda _: time_out(slow), range(20))),
        "killed": sum(Pool(20).imap_unordered(lambda _: kill(slow), range(20))),
        "after": all_at_once(lambda number: aio.run(ask(number))),
        "size": pool.get_size() <= 10,
        "idle": pool.get_idle_size() == pool.get_size(),
    }
    aio.run(pool.close())
    return result


def redis_asyncio(url):
    """One client shared by all greenlets, publishing and subscribing."""
    import redis.asyncio

    client = redis.asyncio.Redis(
        connection_pool=redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=20, timeout=30
        )
    )

    def set_and_get(number):
        aio.run(client.set(f"key {number}", number))
        return int(aio.run(client.get(f"key {number}"))) == number

    async def messages():
        async with client.pubsub() as subscriber:
            await subscriber.subscribe("channel")
            async for message in subscriber.listen():
                yield message

    async def slow():
        await client.blpop(["nothing"], timeout=60)

    result = {"right": all_at_once(set_and_get), "timed out": time_out(slow), "heard": []}
    with aio.iterate(messages()) as heard:
        for message in heard:
            if message["type"] == "subscribe":
                aio.run(client.publish("channel", "hello"))
            else:
                result["heard"].append(message["data"].decode())
                break
    result["after"] = all_at_once(set_and_get)
    aio.run(client.aclose())
    return result


def sqlalchemy_asyncio(parameters):
    """An engine shared by all greenlets, and one in a loop of its own; both use raw greenlets."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    settings = dict(pair.split("=") for pair in parameters.split())
    url = f"postgresql+asyncpg://{settings['user']}@/{settings['dbname']}?host={settings['host']}"

    async def ask(engine, number):
        async with engine.begin() as connection:
            result = await connection.execute(text("SELECT CAST(:n AS int) * 2"), {"n": number})
            return result.scalar_one() == number * 2

    @asynccontextmanager
    async def engine_of_its_own():
        engine = create_async_engine(url, pool_size=5)
        yield engine
        await engine.dispose()

    async def use_own():
        async with engine_of_its_own() as engine:
            return all(await asyncio.gather(*(ask(engine, number) for number in range(10))))

    def run_own(_number):
        with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
            return runner.run(use_own())

    engine = create_async_engine(url, pool_size=10, max_overflow=0)
    result = {
        "shared": all_at_once(lambda number: aio.run(ask(engine, number))),
        "own": all_at_once(run_own, 5),
    }
    aio.run(engine.dispose())
    return result


def anyio_groups():
    """anyio's task groups, cancel scopes and threads, in the shared loop and in own ones."""
    import anyio

    async def main():
        seen = []
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.001)
            group.start_soon(aio.to_greenlet, gevent.sleep, 0.001)
            seen.append(await anyio.to_thread.run_sync(lambda: "thread"))
        with anyio.move_on_after(0.01) as scope:
            await aio.to_greenlet(gevent.sleep, 60)
        seen.append(scope.cancelled_caught)
        try:
            with anyio.fail_after(0.01):
                await anyio.sleep(60)
        except TimeoutError:
            seen.append("timeout")
        send, receive = anyio.create_memory_object_stream(1)
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(send.send, "item")
            seen.append(await receive.receive())
        return seen

    def run_own():
        return anyio.run(main, backend_options={"loop_factory": aio.EventLoop})

    greenlets = [gevent.spawn(run_own) for _ in range(5)]
    right = ["thread", True, "timeout", "item"]
    return [
        *(aio.run(main()) == right for _ in range(2)),
        *(greenlet.get() == right for greenlet in greenlets),
    ]


def fastapi_site():
    """FastAPI under uvicorn in a greenlet's loop; other greenlets ask it."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/coroutine/{number}")
    async def coroutine(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    @app.get("/greenlet/{number}")
    async def greenlet(number: int) -> int:
        return await aio.to_greenlet(lambda: gevent.sleep(0.001) or number)

    @app.get("/thread/{number}")
    def thread(number: int) -> int:
        return number

    def serve():
        config = uvicorn.Config(
            app, port=0, loop="gevent.aio:new_event_loop", log_config=None, lifespan="off"
        )
        server.append(uvicorn.Server(config))
        server[0].run()

    async def get(path):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        return int(body)

    def ask(number):
        kind = ("coroutine", "greenlet", "thread")[number % 3]
        return aio.run(get(f"/{kind}/{number}")) == number

    server = []
    running = gevent.spawn(serve)
    while not (server and server[0].started):
        gevent.sleep(0.01)
    port = port_of(server[0].servers[0])
    right = all_at_once(ask, 60)
    server[0].should_exit = True
    running.get(timeout=20)
    return right


def playwright_pages(chromium):
    """A browser of Playwright's asynchronous interface; greenlets open pages in it side by side."""
    from playwright.async_api import async_playwright

    async def site(reader, writer):
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        body = f"<title>page {path}</title><button onclick='this.textContent += 1'>0</button>"
        writer.write(f"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n{body}".encode())
        writer.close()

    async def open_browser():
        playwright = await async_playwright().start()
        # Chromium's sandbox refuses to work for root.
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        return playwright, browser

    async def look(number):
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{port}/{number}")
        await page.get_by_role("button").click()
        found = (await page.title(), await page.get_by_role("button").text_content())
        await page.close()
        return found == (f"page /{number}", "01")

    async def wait_for_ever():
        page = await browser.new_page()
        try:
            await page.wait_for_selector("#never", timeout=0)
        finally:
            await page.close()

    async def close():
        await browser.close()
        await playwright.stop()

    server = aio.run(asyncio.start_server(site, "127.0.0.1", 0))
    port = port_of(server)
    playwright, browser = aio.run(open_browser())
    right = all_at_once(lambda number: aio.run(look(number)), 5)
    timed_out = time_out(wait_for_ever)
    after = aio.run(look(7))
    aio.run(close())
    server.close()
    return {"right": right, "timed out": timed_out, "after": after}


def grpc_calls():
    """A server and a client of grpc.aio; greenlets call it side by side."""
    import grpc

    async def echo(request, _context):
        await asyncio.sleep(0.001)
        return request.upper()

    async def count(request, _context):
        for number in range(int(request)):
            yield str(number).encode()

    async def wait_for_ever(_request, _context):
        begun.append(1)
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(1)

    async def serve():
        server = grpc.aio.server()
        methods = {
            "Echo": grpc.unary_unary_rpc_method_handler(echo),
            "Count": grpc.unary_stream_rpc_method_handler(count),
            "Wait": grpc.unary_unary_rpc_method_handler(wait_for_ever),
        }
        handler = grpc.method_handlers_generic_handler("test.Service", methods)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    async def unary(method, data):
        return await channel.unary_unary(f"/test.Service/{method}")(data)

    async def numbers_below(number):
        async for data in channel.unary_stream("/test.Service/Count")(b"%d" % number):
            yield data

    def talk(number):
        echoed = aio.run(unary("Echo", b"text %d" % number))
        counted = aio.iterate(numbers_below(number))
        return echoed == b"TEXT %d" % number and len(list(counted)) == number

    async def close():
        await channel.close()
        await server.stop(None)

    begun, cancelled = [], []
    server, channel = aio.run(serve())
    right = all_at_once(talk, 50)
    ended = [time_out(lambda: unary("Wait", b"")), kill(lambda: unary("Wait", b""))]
    with gevent.Timeout(20):
        # A call that was given up before it came to the server leaves nothing to cancel.
        while len(cancelled) < len(begun):
            gevent.sleep(0.01)
    after = talk(3)
    aio.run(close())
    return {"right": right, "ended": ended, "after": after}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[3:])))
