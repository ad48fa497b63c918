"""A real service under malformed requests over real sockets; `loadtests/faults/attack.py` goes on for longer."""

from loadtests.faults.attack import attack


def test_a_real_service_withstands_it() -> None:
    found = attack(minutes=1, inputs=400, seed=1, flags=(), clients=4)
    assert found["failures"] == []
    assert found["answers_500"] == found["hangs"] == 0
    assert found["inputs"] == 800
    assert {"HTTP 200", "HTTP 400", "HTTP 404", "gRPC OK", "gRPC INVALID_ARGUMENT"} <= set(found["answers"])
