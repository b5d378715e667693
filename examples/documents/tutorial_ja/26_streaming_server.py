# The gevent tutorial in Japanese, "Streaming Servers":
# a body yielded piece by piece.

from gevent.pywsgi import WSGIServer

def application(environ, start_response):
    status = '200 OK'

    headers = [
        ('Content-Type', 'text/html')
    ]

    start_response(status, headers)
    yield b"<p>Hello"
    yield b"World</p>"

WSGIServer(('', 8000), application).serve_forever()
