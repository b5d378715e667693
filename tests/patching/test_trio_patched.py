"""trio imported and run in a patched process, beside greenlets that go on."""

import pytest

pytest.importorskip("trio")

TRIO = """
from gevent import monkey; monkey.patch_all()
import threading
import gevent
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)
gevent.spawn(tick)
import trio

async def main(name):
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(trio.sleep, 0.02)
    in_thread = await trio.to_thread.run_sync(threading.get_ident)
    command = ["sh", "-c", "cat; exit 3"]
    child = await trio.run_process(command, stdin=b"x", capture_stdout=True, check=False)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async def echo(stream):
        async for data in stream:
            await stream.send_all(data)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        address = listeners[0].socket.getsockname()
        async with await trio.open_tcp_stream(*address) as client:
            await client.send_all(name.encode())
            got = await client.receive_some(20)
        nursery.cancel_scope.cancel()
    with trio.move_on_after(0.01) as scope:
        await trio.sleep_forever()
    elsewhere = in_thread != threading.get_ident()
    return got.decode(), child.returncode, child.stdout, scope.cancelled_caught, elsewhere
"""


def test_trio_runs_patched(run_python):
    result = run_python(
        TRIO
        + """
before = len(ticks)
print(trio.run(main, "one"), len(ticks) > before + 5)
""",
        timeout=60,
    )
    assert (result.stdout, result.stderr) == ("('one', 3, b'x', True, True) True\n", "")


def test_two_at_once(run_python):
    result = run_python(
        TRIO
        + """
both = [gevent.spawn(trio.run, main, name) for name in ("one", "two")]
gevent.joinall(both, timeout=50)
print([greenlet.value[0] for greenlet in both])
""",
        timeout=60,
    )
    assert (result.stdout, result.stderr) == ("['one', 'two']\n", "")
