"""A Flask application that passes on a model's answer, word by word, as an async client reads it.

Ctrl-C ends the server. Look on with: curl -N http://HOST:PORT/answer?question=why
The client of the model is httpx, as in the libraries of the providers. The model itself is played
by a server in the same process, which takes its time for each word.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
from flask import Flask, Response, request

from command_line import server_parser
from gevent import aio
from gevent.pywsgi import WSGIServer

app = Flask(__name__)


class Model:
    """Talks to the model's server, over connections that all requests share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(timeout=30, trust_env=False)

    async def answer(self, question: str) -> AsyncIterator[str]:
        """Yield the words of the answer as they come."""
        async with self.client.stream("POST", self.url, content=question) as response:
            async for line in response.aiter_lines():
                yield json.loads(line)["word"]


@app.get("/answer")
def answer() -> Response:
    """An ordinary view: each visitor's greenlet takes the words from the coroutine."""
    question = request.args.get("question", "")

    def words() -> Iterator[str]:
        # The block closes the model's response too when the visitor goes away.
        with aio.iterate(app.config["model"].answer(question)) as found:
            for word in found:
                yield word + " "
        yield "\n"

    return Response(words(), content_type="text/plain; charset=utf-8")


async def play_model(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request as a model does, a line of JSON for each word."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    size = int({name.lower(): value for name, value in fields.items()}[b"content-length"])
    question = (await reader.readexactly(size)).decode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nConnection: close\r\n\r\n")
    for word in ["You", "asked:", *question.split(), "I", "do", "not", "know."]:
        writer.write(json.dumps({"word": word}).encode() + b"\n")
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.close()


def main() -> None:
    options = server_parser(__doc__).parse_args()
    played = aio.run(asyncio.start_server(play_model, "127.0.0.1", 0))
    host, port = played.sockets[0].getsockname()
    app.config["model"] = Model(f"http://{host}:{port}/")
    server = WSGIServer(options.listen, app, log=None)
    server.start()
    print(f"http://{server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
