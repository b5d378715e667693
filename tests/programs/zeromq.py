"""pyzmq's green module, whose sockets wait with watchers of gevent's loop.

usage: zeromq.py FUNCTION
"""

import json
import sys

import zmq.green as zmq

import gevent
from gevent.pool import Pool

context = zmq.Context()


def request_and_reply():
    """Fifty clients of one server, by a device of router and dealer to five workers."""
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    address = f"tcp://127.0.0.1:{front.bind_to_random_port('tcp://127.0.0.1')}"
    back.bind("inproc://workers")

    def work(served):
        with context.socket(zmq.REP) as socket:
            socket.connect("inproc://workers")
            while True:
                question = socket.recv_json()
                served.append(question)
                gevent.sleep(0.001)
                socket.send_json(question * 2)

    def ask(number):
        with context.socket(zmq.REQ) as socket:
            socket.connect(address)
            answers = []
            for turn in range(10):
                socket.send_json(number + turn)
                answers.append(socket.recv_json())
            return answers == [2 * (number + turn) for turn in range(10)]

    served = [[] for _ in range(5)]
    servers = [
        gevent.spawn(zmq.device, zmq.QUEUE, front, back),
        *(gevent.spawn(work, each) for each in served),
    ]
    right = sum(Pool(50).imap_unordered(ask, range(50)))
    gevent.killall(servers)
    front.close(linger=0)
    back.close(linger=0)
    return {"right": right, "served": sum(map(len, served)), "workers": sum(map(bool, served))}


def publish_and_subscribe():
    """Twenty subscribers, each to a topic of its own and to one of all."""
    publisher = context.socket(zmq.XPUB)
    publisher.set_hwm(0)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")

    def subscribe(number):
        with context.socket(zmq.SUB) as socket:
            socket.set_hwm(0)
            socket.connect(f"tcp://127.0.0.1:{port}")
            socket.subscribe(b"all")
            socket.subscribe(b"topic%d." % number)
            heard = []
            while (message := socket.recv_multipart())[-1] != b"end":
                heard.append(message)
            return heard

    subscribers = [gevent.spawn(subscribe, number) for number in range(20)]
    # The publisher hears of each topic once, of "all" before the last topic of a subscriber.
    topics = {publisher.recv()[1:] for _ in range(21)}
    for turn in range(100):
        publisher.send_multipart([b"all", b"%d" % turn])
        for number in range(20):
            publisher.send_multipart([b"topic%d." % number, b"%d" % turn])
    publisher.send_multipart([b"all", b"end"])
    gevent.joinall(subscribers, raise_error=True)
    publisher.close(linger=0)

    def expected(number):
        return [[t, b"%d" % n] for n in range(100) for t in (b"all", b"topic%d." % number)]

    right = [each.value == expected(number) for number, each in enumerate(subscribers)]
    return {"topics": len(topics), "right": sum(right)}


def limits():
    """Time limits of pyzmq and of gevent, and a greenlet that is killed while it waits."""
    seen = {"never": True}
    with context.socket(zmq.PULL) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with gevent.Timeout(0.05, False):
            seen["never"] = socket.recv()
        try:
            socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            seen["again"] = True
        seen["polled"] = socket.poll(50)
        waiting = gevent.spawn(socket.recv)
        gevent.sleep(0.01)
        waiting.kill()
        with context.socket(zmq.PUSH) as other:
            other.connect(f"tcp://127.0.0.1:{port}")
            sender = gevent.spawn(lambda: [other.send(b"%d" % n) for n in range(20000)])
            received = [int(socket.recv()) for _ in range(20000)]
            sender.join()
        seen["received"] = received == list(range(20000))
    return seen


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
