"""A board of messages that browsers follow by long polling.

Ctrl-C ends the server. POST / puts a message on the board, and
GET /?after=NUMBER answers with those behind that number as soon as there is one: a request that
waits costs a greenlet. After a while without news it is answered with an empty list, to be asked
again.
"""

import json
from collections.abc import Callable
from urllib.parse import parse_qs

from command_line import server_parser
from gevent.event import Event
from gevent.pywsgi import WSGIServer

PATIENCE = 25
LONGEST = 10_000


class Board:
    """Messages, and whoever waits for the next one."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.news = Event()

    def put(self, message: str) -> int:
        """Put a message up, let all who wait know, and return its number."""
        self.messages.append(message)
        news, self.news = self.news, Event()
        news.set()
        return len(self.messages)

    def after(self, number: int) -> list[str]:
        """Return the messages behind *number*, after waiting for one if need be."""
        if len(self.messages) <= number:
            self.news.wait(PATIENCE)
        return self.messages[number:]

    def application(self, environ: dict, start_response: Callable) -> list[bytes]:
        status, answer = self.respond(environ)
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def respond(self, environ: dict) -> tuple[str, object]:
        if environ["REQUEST_METHOD"] == "POST":
            if int(environ.get("CONTENT_LENGTH") or LONGEST + 1) > LONGEST:
                return "413 Content Too Large", {"error": f"at most {LONGEST} bytes"}
            message = environ["wsgi.input"].read().decode(errors="replace")
            return "201 Created", {"number": self.put(message)}
        asked = parse_qs(environ["QUERY_STRING"]).get("after", ["0"])[0]
        if not asked.isdecimal():
            return "400 Bad Request", {"error": "after=NUMBER"}
        messages = self.after(int(asked))
        return "200 OK", {"messages": messages, "last": int(asked) + len(messages)}


def main() -> None:
    options = server_parser(__doc__).parse_args()
    server = WSGIServer(options.listen, Board().application, log=None)
    server.start()
    print(f"http://{server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
