"""Under overload requests are refused, read as strictly as ever."""

from collections.abc import Iterator

import pytest

from service.admission import Admission, FrontQueue
from tests.unit.service.http.fronts import Running, read_answers, running
from tests.unit.service.http.test_front import HEALTH, LAST, LETTERS, SETTINGS, check_manners, engine, post
from tests.unit.service.message.heads_table import CASES, REFUSED, TAKEN, Case


class Full(Admission):
    """Refuses everything."""

    def __init__(self) -> None:
        super().__init__(0, 0.0)

    def refuses(self, held: int, wait_s: float) -> bool:  # noqa: ARG002 - as it is called
        return True

    def sheds(self, held: int) -> bool:  # noqa: ARG002 - as it is called
        return True


@pytest.fixture(scope="module")
def full() -> Iterator[Running]:
    with running(engine(), SETTINGS, queue=FrontQueue(2, Full())) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_overload_changes_nothing_about_how_heads_are_read(full: Running, case: Case) -> None:
    data = case.data.replace(b"/v1/models/m:predict", LETTERS)
    answers = full.ask(data + LAST)
    for told in answers:
        check_manners(told)
    if case.expected != TAKEN and case.name != "length of 10 TB" and b"chunked\r\n\r\n" not in data[:200]:
        assert [told.status for told in answers] == [400 if case.expected == REFUSED else int(case.expected)]
        assert answers[0].headers["connection"] == "close"
    elif case.expected == TAKEN:
        assert len(answers) == 1 or answers[1].status == 200


def test_what_is_too_much_is_refused_counted_and_keeps_its_connection(full: Running) -> None:
    counted = full.counted("signpost_refusals_total").get((), 0.0)
    route = ("", "/v1/models/<name:name>:predict", "429", "")
    of_route = full.counted("signpost_requests_total").get(route, 0.0)
    with full.client() as client:
        for sent in (post(), post(), post(headers=b"Content-Type: application/json\r\nX-Request-ID: seven\r\n")):
            client.sendall(sent)
            [told] = read_answers(client, 1)
            check_manners(told)
            assert told.status == 429
            assert int(told.headers["retry-after"]) >= 1
        assert told.headers["x-request-id"] == "seven"
        client.sendall(HEALTH)
        assert read_answers(client, 1)[0].status == 200
    assert full.counted("signpost_refusals_total")[()] == counted + 3
    assert full.counted("signpost_requests_total")[route] == of_route + 3
    assert full.engine.servables[0].asked == []


def test_a_large_body_is_refused_before_it_comes(full: Running) -> None:
    with full.client() as client:
        client.sendall(b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 15000\r\n\r\n" % LETTERS)
        assert read_answers(client, 1)[0].status == 429
