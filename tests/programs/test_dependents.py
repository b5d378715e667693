"""Packages that build on gevent's names, semi-private ones too."""


def test_celery_worker(result_of, started, redis_server):
    where = {"REDIS_URL": f"{redis_server}/15"}
    command = ("celery", "--app", "celery_tasks", "worker", "--pool", "gevent", "--concurrency", 50)
    with started(*command, **where) as worker:
        seen = result_of("celery_client.py", "use_worker", **where)
        assert worker.wait(30) == 0
    assert seen == {
        "numbers": True,
        "most": 50,
        "greenlets": ["gevent"],
        "failed": "ValueError('on purpose')",
        "retried": 2,
        "limited": True,
        "chord": 5,
        "pool": 55,
    }
