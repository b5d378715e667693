"""An application that answers JSON, at once or after a wait: in Flask, and in Starlette.

`python flask_application.py PORT` serves the first by `gevent.pywsgi`.
"""

import sys

SECONDS = 0.01
ANSWER = {"message": "hello", "numbers": [1, 2, 3]}


def flask_application():
    """Return the application in Flask."""
    import time

    from flask import Flask

    app = Flask(__name__)

    @app.get("/")
    def at_once():
        return ANSWER

    @app.get("/wait")
    def after_a_wait():
        time.sleep(SECONDS)
        return ANSWER

    return app


def starlette_application():
    """Return the application in Starlette, whose wait is a coroutine's."""
    import asyncio

    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def at_once(_request):
        return JSONResponse(ANSWER)

    async def after_a_wait(_request):
        await asyncio.sleep(SECONDS)
        return JSONResponse(ANSWER)

    return Starlette(routes=[Route("/", at_once), Route("/wait", after_a_wait)])


if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

    from gevent.pywsgi import WSGIServer

    application = flask_application()
    WSGIServer(("127.0.0.1", int(sys.argv[1])), application, log=None).serve_forever()
