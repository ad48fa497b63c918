"""Paths in any case."""

from typing import Any

import pytest

from service.gateway.middleware.paths import in_lower_case


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/V1/Models/MyModel:Predict", "/v1/models/MyModel:predict"),
        ("/v1/MODELS/M/Versions/12:CLASSIFY", "/v1/models/M/versions/12:classify"),
        ("/v1/models/M/Labels/Stable:regress", "/v1/models/M/labels/Stable:regress"),
        ("/v1/models/Versions/Versions/1/MetaData", "/v1/models/Versions/versions/1/metadata"),
        ("/v1/models/M/METADATA", "/v1/models/M/metadata"),
        ("/V1/MODELS", "/v1/models"),
        ("/V1/Models/M", "/v1/models/M"),
        ("/v1/models/m:predict", "/v1/models/m:predict"),
        ("/V2/Models/M", "/V2/Models/M"),
        ("/V1/Models/M/Other/X:Predict", "/V1/Models/M/Other/X:Predict"),
        ("/V1/Models/M\n:Predict", "/v1/models/M\n:predict"),
        ("", ""),
    ],
)
def test_only_the_words_of_a_path_are_lowered(path: str, expected: str) -> None:
    seen: list[str] = []

    def app(environ: dict[str, Any], _: Any) -> list[bytes]:
        seen.append(environ["PATH_INFO"])
        return []

    in_lower_case(app)({"PATH_INFO": path}, None)
    assert seen == [expected]
