"""The express lane gives the answers that Flask would give, and leaves everything else to Flask."""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from service.config.settings import Settings
from service.engine.rejecting import RejectingEngine
from service.errors import Abandoned, DeadlineExceeded, ModelFailed, SignpostError, Unavailable
from service.gateway import create_app
from service.gateway.express.lane import Arrived, Express, Outcome
from service.gateway.middleware.calls import FAILURE, Failure
from service.gateway.routes.metrics import Metrics
from service.interface import Array, Call, Engine, Queue
from service.security import access, keys
from service.security.access import Access
from tests.fakes import FakeEngine, classifier
from tests.unit.service.gateway.express.test_posts import read
from tests.unit.service.gateway.pictures import BLACK, WHITE

LETTERS = "/v1/models/letters:predict"


def post(image: bytes, path: str = LETTERS, headers: str = "") -> Arrived:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\n{headers}Content-Length: {len(image)}\r\n\r\n"
    )
    found = read(head.encode() + image, 10**6)
    assert found is not None
    return Arrived(found, None, time.monotonic())


@pytest.fixture
def metrics(engine: FakeEngine) -> Metrics:
    return Metrics(engine)


@pytest.fixture
def express(settings: Settings, engine: FakeEngine, metrics: Metrics) -> Express:
    return Express(settings, engine, metrics, Access())


def answer(lane: Express, posts: Sequence[Arrived], keep_alive: bool) -> list[Outcome]:
    outcomes, count = lane.answer(posts, keep_alive)
    count()
    return outcomes


def parse(response: object) -> tuple[str, dict[str, str], object]:
    assert isinstance(response, bytes)
    head, _, body = response.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    assert int(headers["Content-Length"]) == len(body)
    return first, headers, json.loads(body)


def counted(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """All counts but those of times, of lanes and of processes."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value  # type: ignore[misc]
        for family in metrics.collect()
        for sample in family.samples
        if sample.name.startswith("signpost_")
        and not sample.name.startswith("signpost_lane_")
        and not sample.name.endswith(("_sum", "_bucket", "_created", "_timestamp_seconds"))
    }


@pytest.mark.parametrize(
    "path", [LETTERS, "/v1/models/letters/versions/1:predict", "/v1/models/letters/labels/stable:predict"]
)
def test_it_answers_and_counts_as_flask_does(engine: FakeEngine, settings: Settings, path: str) -> None:
    of_flask, of_express = Metrics(engine), Metrics(engine)
    client = create_app(settings, engine, of_flask, admits=access.read(settings).access()).test_client()
    headers = {"X-Request-ID": "seven"}
    expected = client.post(path, data=WHITE, content_type="image/png", headers=headers)
    lane = Express(settings, engine, of_express, Access())
    [response] = answer(lane, [post(WHITE, path, "X-Request-ID: seven\r\n")], True)
    first, found, body = parse(response)
    assert first == "HTTP/1.1 200 OK"
    assert body == expected.get_json()
    assert found["Connection"] == "keep-alive"
    for name, value in expected.headers.items():
        if name not in ("Server-Timing", "Content-Length"):
            assert found[name] == value
    stages = [part.partition(";")[0] for part in found["Server-Timing"].split(", ")]
    assert stages == [part.partition(";")[0] for part in expected.headers["Server-Timing"].split(", ")]
    assert counted(of_express) == counted(of_flask)


def test_several_posts_each_get_their_own_answer(express: Express) -> None:
    answers = answer(express, [post(WHITE), post(b"junk"), post(BLACK), post(WHITE, "/v1/models/nope:predict")], False)
    assert [answer is None for answer in answers] == [False, True, False, True]
    white, black = parse(answers[0]), parse(answers[2])
    assert (white[2]["predictions"][0]["class"], black[2]["predictions"][0]["class"]) == ("C", "A")  # type: ignore[index]
    assert white[1]["Connection"] == "close"


@pytest.mark.parametrize(
    ("error", "left_to_flask"),
    [(DeadlineExceeded("late"), DeadlineExceeded), (ModelFailed("broken"), ModelFailed), (Unavailable("gone"), None)],
)
def test_how_the_model_failed_is_told_to_flask(
    express: Express, engine: FakeEngine, error: SignpostError, left_to_flask: type[SignpostError] | None
) -> None:
    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:  # noqa: ARG001 - as it is called
        raise error

    for servable in engine.servables:
        servable.run = run
    [outcome] = answer(express, [post(WHITE)], True)
    assert (outcome is None) == (left_to_flask is None)
    assert left_to_flask is None or (isinstance(outcome, Failure) and isinstance(outcome.error, left_to_flask))
    assert engine.leases == 0


def test_posts_run_as_one_request_and_one_that_fails_costs_no_other(express: Express, engine: FakeEngine) -> None:
    servable = engine.servables[-1]
    run = servable.run

    def fails_on_black(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        if (inputs["image"].max(axis=(1, 2, 3)) == 0).any():
            raise ModelFailed("It does not like the dark.")
        return run(inputs, call)

    servable.run = fails_on_black
    assert all(isinstance(answer, bytes) for answer in answer(express, [post(WHITE), post(WHITE)], True))
    assert [len(inputs["image"]) for inputs, _ in servable.asked] == [2]
    answers = answer(express, [post(WHITE), post(BLACK), post(WHITE)], True)
    assert [type(answer) for answer in answers] == [bytes, Failure, bytes]
    assert isinstance(answers[1], Failure)
    assert isinstance(answers[1].error, ModelFailed)
    assert parse(answers[2])[2]["predictions"][0]["class"] == "C"  # type: ignore[index]


def test_posts_together_wait_no_longer_than_the_least_patient(express: Express, engine: FakeEngine) -> None:
    patient, hasty = post(WHITE, headers="X-Request-ID: a\r\n"), post(WHITE, headers="X-Request-Deadline-Ms: 50\r\n")
    answer(express, [patient, hasty], True)
    [(_, call)] = engine.servables[-1].asked
    assert call.deadline == pytest.approx(hasty.at_s + 0.05)
    assert call.request_id.startswith("a,")


def test_where_a_canary_is_chosen_by_the_id_each_post_runs_by_itself(express: Express, engine: FakeEngine) -> None:
    engine.has_canaries = True
    assert all(isinstance(answer, bytes) for answer in answer(express, [post(WHITE), post(WHITE)], True))
    assert [len(inputs["image"]) for inputs, _ in engine.servables[-1].asked] == [1, 1]


def test_whose_client_has_left_is_neither_decoded_nor_run(express: Express, engine: FakeEngine) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        gone = replace(post(b"junk"), connection=ours)
        answers = answer(express, [post(WHITE), gone], True)
    assert isinstance(answers[0], bytes)
    assert isinstance(answers[1], Failure)
    assert isinstance(answers[1].error, Abandoned)
    assert [len(inputs["image"]) for inputs, _ in engine.servables[-1].asked] == [1]


def test_a_group_is_no_larger_than_a_batch_now(express: Express, engine: FakeEngine, settings: Settings) -> None:
    assert express.look("letters") == (settings.max_batch_size, True)
    engine.servables[0].queue = Queue(batch_rows=4)
    assert express.look("letters") == (4, True)
    assert express.look("numbers") == (settings.max_batch_size, True)


def test_a_model_that_runs_something_is_not_idle(express: Express, engine: FakeEngine) -> None:
    engine.servables[0].queue = Queue(running=1)
    assert express.look("letters") == (32, False)
    assert express.look("numbers") == (32, True)


def test_a_model_that_is_no_image_classifier_is_left_to_flask(express: Express, engine: FakeEngine) -> None:
    for servable in engine.servables:
        servable.signatures = {}
    assert answer(express, [post(WHITE)], True) == [None]
    assert engine.leases == 0


def test_who_has_no_key_is_left_to_flask(engine: FakeEngine, metrics: Metrics) -> None:
    secret, key = keys.make("someone", "predict")
    settings = Settings(api_keys=key.line)
    lane = Express(settings, engine, metrics, access.read(settings).access())
    answers = answer(
        lane,
        [post(WHITE), post(WHITE, headers=f"X-API-Key: {secret}\r\n"), post(WHITE, headers="X-API-Key: no\r\n")],
        True,
    )
    assert [answer is None for answer in answers] == [True, False, True]


def test_flask_raises_what_became_of_it(client: FlaskClient) -> None:
    failure = DeadlineExceeded("No answer within the deadline.")
    answer = client.post(LETTERS, data=WHITE, content_type="image/png", environ_overrides={FAILURE: Failure(failure)})
    assert (answer.status_code, answer.get_json()) == (504, {"error": "No answer within the deadline."})


@pytest.mark.parametrize("reject", [False, True])
def test_strangers_are_told_as_by_flask(settings: Settings, reject: bool) -> None:
    telling = FakeEngine(classifier("letters", 2, ("A", "B", "C"), tells=True))
    engine: Engine = RejectingEngine(telling) if reject else telling
    metrics = Metrics(engine)
    lane = Express(settings, engine, metrics, Access())
    bodies = [parse(each)[2] for each in answer(lane, [post(BLACK), post(WHITE)], keep_alive=True)]
    client = create_app(settings, engine, metrics, admits=Access()).test_client()
    assert bodies == [client.post(LETTERS, data=each, content_type="image/png").json for each in (BLACK, WHITE)]
    assert [body["predictions"][0]["in_domain"] for body in bodies] == [False, True]  # type: ignore[index]
