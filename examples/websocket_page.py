"""A page whose visitors see what any of them writes, over WebSockets.

Ctrl-C ends the server. Open it in a browser, twice.
"""

from collections.abc import Callable

from command_line import server_parser
from gevent.pywsgi import WSGIServer
from gevent.websocket import WebSocketError, WebSocketHandler

PAGE = b"""<!doctype html>
<title>Everybody</title>
<p>Status: <output id="status">Not connected</output></p>
<form id="say"><input id="text" placeholder="Say something" autofocus> <button>Send</button></form>
<ul id="messages"></ul>
<script>
  const find = (id) => document.getElementById(id);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/messages`);
  socket.onopen = () => { find("status").value = "Connected"; };
  socket.onclose = () => { find("status").value = "Disconnected"; };
  socket.onmessage = (event) => {
    const item = document.createElement("li");
    item.textContent = event.data;
    find("messages").append(item);
  };
  find("say").onsubmit = (event) => {
    event.preventDefault();
    socket.send(find("text").value);
    find("text").value = "";
  };
</script>
"""

visitors = set()


def tell_everybody(message: str) -> None:
    for visitor in list(visitors):
        try:
            visitor.send(message)
        except WebSocketError:
            # It is gone; its own greenlet takes it off the list.
            continue


def application(environ: dict, start_response: Callable) -> list[bytes]:
    socket = environ.get("wsgi.websocket")
    if socket is None:
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [PAGE]
    visitors.add(socket)
    try:
        while (message := socket.receive()) is not None:
            tell_everybody(str(message))
    finally:
        visitors.discard(socket)
    return []


def main() -> None:
    options = server_parser(__doc__).parse_args()
    server = WSGIServer(options.listen, application, log=None, handler_class=WebSocketHandler)
    server.start()
    print(f"http://{server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
