"""Nothing that the public operations make stays, though a collection runs at each allocation."""

import pytest
from leaks_support import assert_nothing_stays

OPERATIONS = {
    "spawn": "gevent.spawn(len, 'x').get()",
    "spawn later": "gevent.spawn_later(0, len, 'x').join()",
    "spawn raw": "gevent.spawn_raw(int); gevent.sleep(0)",
    "subclass": "Own.spawn(1).get()",
    "error": "gevent.spawn(fail).join()",
    "kill": "gevent.spawn(gevent.sleep, 10).kill()",
    "kill before it starts": "gevent.spawn(int).kill()",
    "killall": "gevent.killall([gevent.spawn(gevent.sleep, 10) for _ in range(12)])",
    "joinall": "gevent.joinall([gevent.spawn(gevent.sleep, 0) for _ in range(12)])",
    "iwait": "list(gevent.iwait([gevent.spawn(int) for _ in range(12)]))",
    "wait": "gevent.wait([gevent.spawn(int) for _ in range(12)])",
    "link": "greenlet = gevent.spawn(int); greenlet.link(lambda _: None); greenlet.join()",
    "cycle": "greenlet = gevent.spawn(int); greenlet.me = greenlet; greenlet.join()",
    "sleep": "gevent.sleep(0.0001)",
    "idle": "gevent.idle()",
    "timeout": "with gevent.Timeout(0.0001, False): gevent.sleep(1)",
    "cancelled timeout": "gevent.Timeout.start_new(10).close()",
    "with_timeout": "gevent.with_timeout(0.0001, gevent.sleep, 1, timeout_value=None)",
    "event": "event = Event(); gevent.spawn(event.set); event.wait()",
    "event in vain": "Event().wait(0.0001)",
    "result": "result = AsyncResult(); gevent.spawn(result.set, [1]); result.get()",
    "failed result": "result = AsyncResult(); result.set_exception(KeyError()); result.exception",
    "semaphore": "lock = Semaphore(0); gevent.spawn(lock.release); lock.acquire()",
    "semaphore in vain": "Semaphore(0).acquire(timeout=0.0001)",
    "bounded semaphore": "with BoundedSemaphore(1): gevent.sleep(0)",
    "rlock": "with RLock() as lock: gevent.sleep(0)",
    "queue": "queue = Queue(1); gevent.spawn(queue.put, [1]); queue.get()",
    "full queue": "queue = Queue(1); queue.put(1); queue.put(2, timeout=0.0001)",
    "queues": "for kind in KINDS: queue = kind(); queue.put(1); queue.get(); queue.put(2)",
    "joinable": "queue = JoinableQueue(); queue.put(1); queue.get(); queue.task_done()",
    "channel": "channel = Channel(); gevent.spawn(channel.put, [1]); channel.get()",
    "pool": "Pool(2).map(len, ['a', 'b', 'c'])",
    "imap": "list(Pool(2).imap_unordered(len, ['a', 'b', 'c']))",
    "broken imap": "next(Pool(2).imap(len, ['a', 'b', 'c']))",
    "group": "group = Group(); group.spawn(gevent.sleep, 10); group.kill()",
    "thread pool": "gevent.get_hub().threadpool.apply(len, ('x',))",
    "local": "data = local(); data.value = []; gevent.spawn(setattr, data, 'value', []).join()",
    "timer": "timer = loop.timer(0); timer.start(int); gevent.sleep(0.0001); timer.close()",
    "async": "watcher = loop.async_(); watcher.start(int); watcher.send(); watcher.close()",
    "callback": "loop.run_callback(int); gevent.sleep(0)",
    "socket pair": "one, other = socketpair(); one.sendall(b'x'); other.recv(1)",
    "connection": "client = create_connection(echo.address); client.sendall(b'x'); read(client)",
    "timeout of a socket": "one, other = socketpair(); one.settimeout(0.0001); one.recv(1)",
    "closed while it waits": "one, other = socketpair(); gevent.spawn(one.close); one.recv(1)",
    "request": "client = create_connection(web.address); client.sendall(GET); read(client)",
    "select": "one, other = socketpair(); select([one], [other], [], 0.0001)",
    "look-up": "gevent.get_hub().resolver.gethostbyname('127.0.0.1')",
    "other loop": "gevent.core.loop(default=False).destroy()",
    "thread": "thread = threading.Thread(target=gevent.sleep); thread.start(); thread.join()",
}

PREPARATION = """
import io, threading
import gevent, gevent.core, gevent.pywsgi, gevent.server
from gevent.event import AsyncResult, Event
from gevent.local import local
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.pool import Group, Pool
from gevent.queue import Channel, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue
from gevent.select import select
from gevent.socket import create_connection, socketpair

KINDS = Queue, LifoQueue, PriorityQueue, SimpleQueue
GET = b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n"
loop = gevent.get_hub().loop
gevent.get_hub().exception_stream = None

class Own(gevent.Greenlet):
    def __init__(self, value):
        super().__init__()
        self.value_of_its_own = value
    def _run(self):
        return self.value_of_its_own

def fail():
    raise ValueError

def answer(sock, _):
    sock.sendall(sock.recv(1))

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]

def read(client):
    while client.recv(100):
        pass

echo = gevent.server.StreamServer(("127.0.0.1", 0), answer)
web = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
echo.start()
web.start()
"""


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_stays(run_python, name):
    assert_nothing_stays(run_python, PREPARATION, OPERATIONS[name])
