"""Clients of redis and PostgreSQL, and SQLAlchemy, against servers that are started here."""

import itertools

import pytest

databases = itertools.count()


@pytest.fixture
def redis_url(redis_server):
    """The URL of an empty database of the redis server."""
    return f"{redis_server}/{next(databases)}"


def test_redis_pool(result_of, redis_url):
    seen = result_of("redis_client.py", "shared_pool", redis_url)
    assert 1 < seen.pop("connections") <= 20
    assert seen == {"right": 2000, "total": 2000}


def test_redis_pipelines(result_of, redis_url):
    seen = result_of("redis_client.py", "pipelines", redis_url)
    assert seen == {"right": 50, "counter": 100, "doubled": list(range(0, 40, 2))}


def test_redis_publish_and_subscribe(result_of, redis_url):
    seen = result_of("redis_client.py", "publish_and_subscribe", redis_url)
    assert seen == {"right": 30, "handled": True, "stopped": True}


def test_redis_blocking_pop(result_of, redis_url):
    seen = result_of("redis_client.py", "blocking_pop", redis_url)
    assert seen == {"items": True, "nothing": None}


def test_redis_failures(result_of, redis_url):
    seen = result_of("redis_client.py", "failures", redis_url)
    assert seen == {"timeout": True, "refused": True, "after": ["0", "1", "2"]}


def test_redis_lock_between_threads(result_of, redis_url):
    assert result_of("redis_client.py", "threads", redis_url) == {"pairs": 20, "alone": True}


def check_concurrent(seen):
    """Sleeps of 20 seconds in all take far less, but no less than 20 at a time can."""
    asleep, wall = seen.pop("asleep"), seen.pop("wall")
    assert asleep / 20 <= wall < asleep / 2


def test_psycopg(result_of, postgres):
    seen = result_of("postgres_clients.py", "psycopg3", postgres)
    check_concurrent(seen)
    assert seen == {"right": 200, "size": 20}


def test_features_of_psycopg(result_of, postgres):
    seen = result_of("postgres_clients.py", "psycopg3_features", postgres)
    assert seen == {
        "copied": 5000,
        "cursor": True,
        "pipeline": True,
        "notified": [str(number) for number in range(10)],
        "cancelled": 1,
        "error": "IDLE",
        "refused": True,
    }


def test_psycopg2_with_psycogreen(result_of, postgres):
    seen = result_of("postgres_clients.py", "psycopg2_psycogreen", postgres)
    check_concurrent(seen)
    assert seen == {"right": 200, "rows": 5_000_050_000, "cut short": True}


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy(result_of, postgres, driver):
    seen = result_of("postgres_clients.py", "sqlalchemy_over", postgres, driver)
    check_concurrent(seen)
    assert seen == {"right": 200, "size": 20, "moved": 180, "sum": 1000, "accounts": 10}
