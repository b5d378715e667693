# The gevent tutorial, "Greenlets":
# fetching from a server one after another, and side by side.

import gevent.monkey
gevent.monkey.patch_socket()

import gevent
import urllib.request
import simplejson as json

def fetch(pid):
    response = urllib.request.urlopen('http://json-time.appspot.com/time.json')
    result = response.read()
    json_result = json.loads(result)
    datetime = json_result['datetime']

    print('Process %s: %s' % (pid, datetime))
    return json_result['datetime']

def synchronous():
    for i in range(1,10):
        fetch(i)

def asynchronous():
    threads = []
    for i in range(1,10):
        threads.append(gevent.spawn(fetch, i))
    gevent.joinall(threads)

print('Synchronous:')
synchronous()

print('Asynchronous:')
asynchronous()
