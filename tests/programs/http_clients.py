"""HTTP clients that know nothing of gevent, many at once in one patched thread.

usage: http_clients.py FUNCTION URL [CERTIFICATE]
"""

from gevent import monkey

monkey.patch_all()

import http.client
import json
import sys
import urllib.parse
import urllib.request

import requests
import urllib3
from requests.adapters import HTTPAdapter

import gevent
from gevent.pool import Pool

CLIENTS = 200
CONNECTIONS = 20


def bodies():
    return [b"body %d " % number * (number * 50) for number in range(CLIENTS)]


def requests_session(url, certificate=None):
    """One session and its pool of connections under many greenlets."""
    with requests.Session() as session:
        if certificate:
            session.verify = certificate
        session.mount(url, HTTPAdapter(pool_maxsize=CONNECTIONS, pool_block=True))

        def post(body):
            return session.post(f"{url}/echo", data=body, timeout=30).content == body

        def meet(_):
            return session.get(f"{url}/together/{CONNECTIONS}", timeout=30).text

        return {
            "echoed": sum(Pool(CLIENTS).imap_unordered(post, bodies())),
            "met": Pool(CLIENTS).map(meet, range(3 * CONNECTIONS)).count("all there"),
            "redirected": session.get(f"{url}/redirect/5").text,
            "large": len(session.get(f"{url}/bytes/5000000").content),
            "lines": len(list(session.get(f"{url}/chunks/500", stream=True).iter_lines())),
        }


def requests_failures(url, certificate=None):
    """Time limits of requests and of gevent, refusals, and a session that goes on after them."""
    with requests.Session() as session:
        if certificate:
            session.verify = certificate

        def failure(call, *args, **kwargs):
            try:
                call(*args, **kwargs)
            except (OSError, gevent.Timeout) as error:
                return type(error).__name__
            return None

        def limited():
            with gevent.Timeout(0.1):
                session.get(f"{url}/never")

        with monkey.get_original("socket", "socket")() as unused:
            unused.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
            refused = failure(session.get, nobody, timeout=5)
        seen = {
            "read": failure(session.get, f"{url}/never", timeout=(20, 0.1)),
            "limit": failure(limited),
            "refused": refused,
            "after": session.post(f"{url}/echo", data=b"hello").text,
        }
        if certificate:
            seen["unverified"] = failure(requests.get, f"{url}/bytes/1", timeout=20)
        return seen


def urllib3_pool(url, certificate=None):
    """A PoolManager, its bodies read whole and piece by piece."""
    with urllib3.PoolManager(maxsize=CONNECTIONS, block=True, ca_certs=certificate) as pool:

        def post(body):
            return pool.request("POST", f"{url}/echo", body=body).data == body

        def meet(_):
            return pool.request("GET", f"{url}/together/{CONNECTIONS}").data

        large = pool.request("GET", f"{url}/bytes/1000000", preload_content=False)
        pieces = [len(piece) for piece in large.stream(10000)]
        return {
            "echoed": sum(Pool(CLIENTS).imap_unordered(post, bodies())),
            "met": Pool(CLIENTS).map(meet, range(3 * CONNECTIONS)).count(b"all there"),
            "pieces": sum(pieces),
            "pools": len(pool.pools),
        }


def http_client(url):
    """A connection for each greenlet, used several times."""
    where = urllib.parse.urlsplit(url).netloc

    def talk(body):
        connection = http.client.HTTPConnection(where, timeout=30)
        right = 0
        for _ in range(3):
            connection.request("POST", "/echo", body)
            right += connection.getresponse().read() == body
        connection.request("GET", f"/together/{CLIENTS}")
        right += connection.getresponse().read() == b"all there"
        connection.close()
        return right

    return {"right": sum(Pool(CLIENTS).imap_unordered(talk, bodies()))}


def urllib_request(url):
    """urlopen and an opener, with a response read line by line."""

    def lines(count):
        with urllib.request.urlopen(f"{url}/chunks/{count}", timeout=30) as response:
            return sum(line.startswith(b"chunk ") for line in response)

    return {"lines": sum(Pool(50).imap_unordered(lines, range(100)))}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
