"""A Flask application whose views use asyncio; `application` is what a WSGI server serves."""

from gevent import monkey

monkey.patch_all()

import asyncio
import threading
import time

import flask

application = flask.Flask(__name__)
barriers = {}


def meet(name, count):
    """Wait until *count* requests are here."""
    barriers.setdefault(name, threading.Barrier(count)).wait(30)


def sees_a_loop():
    """Return true if a loop of asyncio runs here."""
    return asyncio._get_running_loop() is not None


@application.get("/plain/<int:number>/<int:count>")
def plain(number, count):
    """Look for a loop while loops run in other requests."""
    meet("all", count)
    time.sleep(0.01)
    return f"{number} {int(not sees_a_loop())}"


@application.get("/runs/<int:number>/<int:count>")
def runs(number, count):
    """Run a loop."""

    async def main():
        await asyncio.to_thread(meet, "all", count)
        await asyncio.sleep(0.01)
        return sees_a_loop()

    return f"{number} {int(asyncio.run(main()) and not sees_a_loop())}"


@application.get("/async/<int:number>/<int:count>")
async def view(number, count):
    """Be a coroutine, which stops for the others in its own loop."""
    mine = asyncio.get_running_loop()
    await asyncio.to_thread(meet, "all", count)
    await asyncio.sleep(0.01)
    return f"{number} {int(asyncio.get_running_loop() is mine)}"
