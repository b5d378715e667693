# The gevent tutorial in Japanese, "Streaming Servers":
# a body given as a whole.

from gevent.wsgi import WSGIServer

def application(environ, start_response):
    status = '200 OK'
    body = b'<p>Hello World</p>'

    headers = [
        ('Content-Type', 'text/html')
    ]

    start_response(status, headers)
    return [body]

WSGIServer(('', 8000), application).serve_forever()
