"""How a latency objective is written."""

import pytest

from service.engine.batching.objective import Objective, parse
from service.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "objectives"),
    [
        ("", {}),
        ("p99=50ms", {"": Objective(0.99, 0.05)}),
        (" p99.9 = 0.5s ", {"": Objective(0.999, 0.5)}),
        ("cats:p95=800us,p99=50ms", {"cats": Objective(0.95, 0.0008), "": Objective(0.99, 0.05)}),
        ("a-b.c:p50=1.5ms,", {"a-b.c": Objective(0.5, 0.0015)}),
    ],
)
def test_an_objective_is_read(text: str, objectives: dict[str, Objective]) -> None:
    found = parse(text)
    assert found.keys() == objectives.keys()
    for name, each in objectives.items():
        assert (found[name].share, found[name].within_s) == pytest.approx((each.share, each.within_s))


@pytest.mark.parametrize(
    "text",
    ["50ms", "p99", "p99=50", "p99=ms", "p100=50ms", "p0=50ms", "p99=0ms", "p99=-1ms", "99=50ms", ":p99=50ms", "p99=5m",
     "p99=50ms p95=1s", "p٩٩=50ms", "p99=1e3ms"],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match="p99=50ms, or MODEL:p99=50ms"):
        parse(text)


@pytest.mark.parametrize(("text", "whom"), [("p99=1s,p95=2s", "every model"), ("m:p99=1s,m:p95=2s", "m")])
def test_two_for_the_same_are_refused(text: str, whom: str) -> None:
    with pytest.raises(SettingsError, match=f"two objectives for {whom}"):
        parse(text)
