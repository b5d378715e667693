"""redis-py, which knows nothing of gevent, many greenlets at once in one patched thread.

usage: redis_client.py FUNCTION URL
"""

from gevent import monkey

monkey.patch_all()

import json
import sys
import threading
import time

import redis

import gevent
from gevent.pool import Pool

GREENLETS = 200
CONNECTIONS = 20


def client(url):
    pool = redis.BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=30)
    return redis.Redis(connection_pool=pool)


def shared_pool(url):
    """Many greenlets on fewer connections: every answer belongs to its own question."""
    server = client(url)

    def work(number):
        right = 0
        for turn in range(10):
            value = f"{number}.{turn}" * 100
            server.set(f"key {number}", value)
            right += server.get(f"key {number}") == value.encode()
            server.incr("total")
        return right

    return {
        "right": sum(Pool(GREENLETS).imap_unordered(work, range(GREENLETS))),
        "total": int(server.get("total")),
        "connections": len(server.client_list()),
    }


def pipelines(url):
    """Pipelines, transactions that watch a key which others change, and scripts."""
    server = client(url)

    def batch(number):
        with server.pipeline(transaction=False) as pipe:
            for turn in range(200):
                pipe.rpush(f"list {number}", turn)
            pipe.lrange(f"list {number}", 0, -1)
            return pipe.execute()[-1] == [b"%d" % turn for turn in range(200)]

    def add_one(_):
        def change(pipe):
            value = int(pipe.get("counter") or 0)
            gevent.sleep(0)
            pipe.multi()
            pipe.set("counter", value + 1)

        server.transaction(change, "counter")

    greenlets = Pool(50)
    right = sum(greenlets.map(batch, range(50)))
    Pool(10).map(add_one, range(100))
    double = server.register_script("return 2 * ARGV[1]")
    return {
        "right": right,
        "counter": int(server.get("counter")),
        "doubled": greenlets.map(lambda number: double(args=[number]), range(20)),
    }


def publish_and_subscribe(url):
    """Subscribers in greenlets, one in redis-py's own thread, all while others publish."""
    server = client(url)
    received = {}

    def subscribe(number):
        with redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True) as channel:
            channel.psubscribe("only.*")
            channel.subscribe("news")
            heard = received[number] = []
            for message in channel.listen():
                if message["data"] == b"end":
                    return
                heard.append(message["data"].decode())

    subscribers = [gevent.spawn(subscribe, number) for number in range(30)]
    by_handler = []
    background = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
    background.subscribe(news=lambda message: by_handler.append(message["data"].decode()))
    thread = background.run_in_thread(sleep_time=0.01)
    while server.pubsub_numsub("news")[0][1] < 31:
        time.sleep(0.01)
    for number in range(20):
        server.publish("news", number)
        server.publish("only.greenlets", f"g{number}")
    server.publish("news", "end")
    gevent.joinall(subscribers, raise_error=True)
    while "end" not in by_handler:
        time.sleep(0.01)
    thread.stop()
    thread.join(10)
    expected = [text for number in range(20) for text in (str(number), f"g{number}")]
    return {
        "right": sum(heard == expected for heard in received.values()),
        "handled": by_handler == [*map(str, range(20)), "end"],
        "stopped": not thread.is_alive(),
    }


def blocking_pop(url):
    """Consumers wait in BLPOP, each for an item that comes later; one waits in vain."""
    server = client(url)

    def consume(_):
        return redis.Redis.from_url(url).blpop(["jobs"], timeout=30)[1].decode()

    consumers = [gevent.spawn(consume, number) for number in range(CONNECTIONS)]
    while server.info("clients")["blocked_clients"] < CONNECTIONS:
        time.sleep(0.01)
    for number in range(CONNECTIONS):
        server.rpush("jobs", number)
    items = sorted(int(item) for item in (consumer.get() for consumer in consumers))
    return {"items": items == list(range(CONNECTIONS)), "nothing": server.blpop(["none"], 1)}


def failures(url):
    """A read that takes too long, a server that is not there, and the same pool used on."""
    server = client(url)
    hasty = redis.Redis.from_url(url, socket_timeout=1, retry=None)
    seen = {}
    try:
        hasty.blpop(["none"], timeout=5)
    except redis.TimeoutError:
        seen["timeout"] = hasty.ping()
    try:
        redis.Redis(port=1, retry=None).ping()
    except redis.ConnectionError:
        seen["refused"] = True

    def cut_short():
        with gevent.Timeout(0.05, False):
            server.blpop(["none"], timeout=5)

    gevent.joinall([gevent.spawn(cut_short) for _ in range(100)])
    seen["after"] = [server.echo(f"{number}").decode() for number in range(3)]
    return seen


def threads(url):
    """The client shared by threading.Thread, with redis-py's lock between them."""
    server = client(url)
    order = []

    def work(number):
        with server.lock("the lock", timeout=30):
            order.append(("in", number))
            time.sleep(0.005)
            order.append(("out", number))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    pairs = list(zip(order[::2], order[1::2], strict=True))
    return {
        "pairs": len(pairs),
        "alone": all(first == ("in", last[1]) for first, last in pairs),
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
