"""The real process with more requests than it takes: some are answered, the others refused at once, nothing breaks."""

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from loadtests.raw import arrivals
from loadtests.raw.client import request
from tests.e2e.processes import Server, serving


@pytest.fixture(scope="module")
def server(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It takes four requests at once, and has a latency objective."""
    flags = ("--threads=2", "--max-queue-ms=0", "--max_batch_size=2", "--latency-objective=p99=50ms")
    with serving(circles_store, tmp_path_factory.mktemp("overload"), *flags) as running:
        yield running


def metric(server: Server, name: str) -> float:
    found = re.search(
        rf"^{name}(?:{{[^}}]*}})? (\S+)$", requests.get(f"{server.url}/metrics", timeout=60).text, re.MULTILINE
    )
    assert found is not None
    return float(found[1])


def test_beyond_what_it_holds_it_refuses_and_goes_on(server: Server, pictures: dict[int, bytes]) -> None:
    posts = [request("/v1/models/circles:predict", "image/png", pictures[2])]
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(arrivals.closed, server.rest_api_port, posts, 24, 2.0)
        healthy = 0
        while not loading.done():
            assert requests.get(f"{server.url}/healthz", timeout=60).status_code == 200
            healthy += 1
        answers = loading.result().answers
    statuses = Counter(answer.status for answer in answers)
    assert statuses.keys() == {200, 429}
    assert all(answer.retry_after_s >= 1 for answer in answers if answer.status == 429)
    assert healthy > 0
    # These waited for a thread; the batcher refuses on its own account.
    assert 0 < metric(server, "signpost_refusals_total") <= statuses[429]
    assert metric(server, "signpost_batch_limit_instances") in (1, 2)
    answer = requests.post(server.predict_url(), data=pictures[2], timeout=60)
    assert answer.status_code == 200


def test_a_refusal_looks_like_every_other_answer(server: Server, pictures: dict[int, bytes]) -> None:
    def ask(number: int) -> requests.Response:
        headers = {"X-Request-ID": f"mine-{number}", "Content-Type": "image/png"}
        return requests.post(server.predict_url(), data=pictures[2], headers=headers, timeout=60)

    refused: list[requests.Response] = []
    with ThreadPoolExecutor(24) as pool:
        while not refused:
            answers = list(pool.map(ask, range(100)))
            assert [answer.headers["X-Request-ID"] for answer in answers] == [f"mine-{n}" for n in range(100)]
            refused = [answer for answer in answers if answer.status_code == 429]
    assert refused[0].headers["Content-Type"] == "application/json"
    assert "Server-Timing" in refused[0].headers
    assert "try again later" in refused[0].json()["error"]


@pytest.mark.parametrize(("deadline", "statuses"), [("soon", {400}), ("60000", {200}), ("1", {200, 429, 504})])
def test_a_client_says_how_long_it_waits(
    server: Server, pictures: dict[int, bytes], deadline: str, statuses: set[int]
) -> None:
    headers = {"X-Request-Deadline-Ms": deadline, "Content-Type": "image/png"}
    answer = requests.post(server.predict_url(), data=pictures[2], headers=headers, timeout=60)
    assert answer.status_code in statuses
    if answer.status_code >= 400:
        assert "X-Request-Deadline-Ms" in answer.json()["error"]
