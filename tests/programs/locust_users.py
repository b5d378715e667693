"""Users of locust: one of requests, the other of geventhttpclient.

usage: locust --locustfile locust_users.py --host URL
"""

from locust import FastHttpUser, HttpUser, constant, task


class Requests(HttpUser):
    wait_time = constant(0.05)

    @task
    def echo(self):
        with self.client.post("/echo", data=b"hello", catch_response=True) as response:
            if response.text != "hello":
                response.failure(f"wrong answer: {response.text}")


class Fast(FastHttpUser):
    wait_time = constant(0.05)

    @task
    def bytes_(self):
        with self.client.get("/bytes/100", catch_response=True) as response:
            if response.text != "x" * 100:
                response.failure(f"wrong answer: {response.text}")
