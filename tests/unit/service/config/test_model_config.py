"""TF Serving's models.config: what is read, what is refused, and what is written back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.model_config import All, Latest, ModelConfig, Specific, parse, to_text
from service.errors import SettingsError

FOLDER = Path("/store")


def test_the_file_of_tf_servings_documentation_is_read() -> None:
    text = """
      model_config_list {
        config {
          name: 'my_first_model'
          base_path: '/tmp/my_first_model/'
          model_platform: 'tensorflow'
          model_version_policy { specific { versions: 42 versions: 43 } }
          version_labels { key: 'stable' value: 42 }
          version_labels { key: 'canary' value: 43 }
        }
        config { name: "second" base_path: "second" model_version_policy: {latest: {num_versions: 3}} }
        config { name: "third" base_path: "./third" model_version_policy { all {} } }
        config { name: "fourth" base_path: "fourth" }
      }
    """
    assert parse(text, "f", FOLDER) == (
        ModelConfig(
            "my_first_model", Path("/tmp/my_first_model"), Specific(frozenset({42, 43})), {"stable": 42, "canary": 43}
        ),
        ModelConfig("second", FOLDER / "second", Latest(3)),
        ModelConfig("third", FOLDER / "third", All()),
        ModelConfig("fourth", FOLDER / "fourth"),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model_config_list { config { name: }", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ("nonsense { }", "no field named"),
        ("model_config_list { config { base_path: 'x' } }", "not a valid model name"),
        ("model_config_list { config { name: 'a/b' base_path: 'x' } }", "'a/b'"),
        ("model_config_list { config { name: 'a' } }", "no base_path"),
        ("model_config_list { config { name: 'a' base_path: 's3://bucket/a' } }", "local folder"),
        ("model_config_list { config { name: 'a' base_path: 'x' model_platform: 'onnx' } }", "'onnx'"),
        (
            "model_config_list { config { name: 'a' base_path: 'x' model_version_policy { specific {} } } }",
            "no specific version",
        ),
        (
            "model_config_list { config { name: 'a' base_path: 'x' } config { name: 'a' base_path: 'y' } }",
            "listed twice",
        ),
        ("custom_model_config { }", "custom_model_config"),
    ],
)
def test_an_error_names_the_file_and_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(text, "models.config", FOLDER)
    assert "models.config" in str(refused.value)
    assert says in str(refused.value)


numbers = st.integers(0, 2**31)
configs = st.lists(
    st.builds(
        ModelConfig,
        name=st.from_regex(r"[a-z][\w.-]{0,12}", fullmatch=True).filter(str.isascii),
        base_path=st.sampled_from([FOLDER / "x", FOLDER, Path("/elsewhere/y z")]),
        policy=st.one_of(
            st.just(All()),
            st.builds(Latest, st.integers(1, 9)),
            st.builds(Specific, st.frozensets(numbers, min_size=1, max_size=4)),
        ),
        labels=st.dictionaries(st.text("abc-", min_size=1, max_size=5), numbers, max_size=3),
    ),
    max_size=4,
    unique_by=lambda config: config.name,
)


@given(configs)
def test_what_is_written_is_read_back_the_same(configs: list[ModelConfig]) -> None:
    assert parse(to_text(configs, FOLDER), "f", FOLDER) == tuple(configs)
