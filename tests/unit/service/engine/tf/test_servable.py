"""Loading and running SavedModels; the only unit test of the service that needs TensorFlow."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import protocol, store
from service.engine.batching.parameters import BatchingParameters
from service.engine.joining import row_test
from service.engine.tf import graph_loader, loading, saved_model
from service.engine.tf import session as tf_session
from service.engine.tf.device import DeviceSettings
from service.engine.tf.servable import TensorflowServable
from service.errors import InvalidRequest, LoadFailed, NotFound, Unavailable, UnfitSignature
from service.interface import Array, Call

pytestmark = pytest.mark.slow  # TensorFlow

LONG_S = 60.0
Load = Callable[..., TensorflowServable]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels, made once."""
    from tests.unit.service.engine.tf import saved_models as make

    folder = tmp_path_factory.mktemp("models")
    make.classifier(folder / "classifier")
    make.inputs_in_no_order(folder / "several")
    make.lookup(folder / "lookup")
    make.counter(folder / "counter")
    make.namesakes(folder / "namesakes")
    make.picky(folder / "picky")
    make.strangers(folder / "strangers")
    make.convolution(folder / "convolution")
    make.hungry(folder / "hungry")
    return folder


@pytest.fixture
def load() -> Iterator[Load]:
    loaded: list[TensorflowServable] = []

    def load(folder: Path, stopped: Any = lambda *_: None) -> TensorflowServable:
        parameters = BatchingParameters(max_batch_size=4)
        loaded.append(loading.load(folder, "m", 3, parameters, DeviceSettings(threads=1), stopped=stopped))
        return loaded[-1]

    yield load
    for each in loaded:
        each.close()


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of a model that a test may damage."""
    return lambda name: Path(shutil.copytree(models / name, tmp_path / name))


def ask(
    model: TensorflowServable, signature: str = "serving_default", *outputs: str, **inputs: Any
) -> dict[str, Array]:
    call = Call(time.monotonic() + LONG_S, signature, outputs)
    return dict(model.predict({name: np.asarray(value) for name, value in inputs.items()}, call).outputs)


def floats(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


def strings(*values: bytes) -> Array:
    return np.array(values, dtype=np.object_)


WHITE, BLACK = np.full((1, 2, 3, 3), 255, np.uint8), np.zeros((1, 2, 3, 3), np.uint8)


def test_an_image_classifier_answers_scores_and_classes(load: Load, models: Path) -> None:
    model = load(models / "classifier")
    assert (model.name, model.version, model.classes) == ("m", 3, ("dark", "bright"))
    image = model.signatures["serving_default"].image
    assert image is not None
    assert (image.height, image.width, image.channels) == (2, 3, 3)
    outputs = ask(model, image=np.concatenate([WHITE, BLACK, WHITE]))
    np.testing.assert_allclose(outputs["scores"], [[0, 1], [1, 0], [0, 1]], atol=1e-6)
    assert outputs["classes"].tolist() == [[b"dark", b"bright"]] * 3
    assert outputs["scores"].dtype == np.float32


@pytest.mark.parametrize("wanted", [("scores",), ("classes",), ("classes", "scores"), ("scores", "classes")])
def test_only_the_outputs_asked_for_are_answered(load: Load, models: Path, wanted: tuple[str, ...]) -> None:
    outputs = ask(load(models / "classifier"), "serving_default", *wanted, image=WHITE)
    assert tuple(outputs) == wanted
    outputs = ask(load(models / "several"), "serving_default", "again", z=floats(1), a=floats(2), m=floats(3))
    assert {name: array.tolist() for name, array in outputs.items()} == {"again": [2.0]}


def test_more_rows_than_a_batch_holds_are_answered_in_their_order(load: Load, models: Path) -> None:
    numbers = np.arange(11, dtype=np.float32)
    outputs = ask(load(models / "several"), z=numbers, a=numbers * 0, m=numbers)
    np.testing.assert_allclose(outputs["sum"], numbers * 101)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "as it is"])
def test_frozen_or_not_every_input_and_output_is_itself(
    load: Load, models: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    """The order of the function's arguments, of the names, and of the frozen graph's inputs all differ."""
    if not frozen:
        monkeypatch.setattr(graph_loader, "_freeze", lambda *_: None)
    model = load(models / "several")
    outputs = ask(model, m=floats(3, 6), a=floats(2, 5), z=floats(1, 4))
    np.testing.assert_allclose(outputs["sum"], [123, 456])
    np.testing.assert_allclose(outputs["first"], [0.1, 0.4])
    np.testing.assert_allclose(outputs["again"], [2, 5])
    outputs = ask(model, "shout", text=strings(b"ab", "ä".encode(), b"\xff"))
    assert outputs["loud"].tolist() == [b"AB", "ä".encode(), b"\xff"]
    assert outputs["length"].tolist() == [2, 2, 1]
    outputs = ask(model, "no_batches", x=np.float32(1), y=floats(2, 3))
    assert outputs["total"].tolist() == 6.0
    outputs = ask(load(models / "classifier"), image=np.concatenate([WHITE, BLACK]))
    np.testing.assert_allclose(outputs["scores"], [[0, 1], [1, 0]], atol=1e-6)


def test_what_can_be_frozen_is_and_what_can_not_is_served_all_the_same(
    load: Load, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[bool] = []
    freeze = graph_loader._freeze

    def noting(*arguments: Any) -> Any:
        graph = freeze(*arguments)
        frozen.append(graph is not None)
        return graph

    monkeypatch.setattr(graph_loader, "_freeze", noting)
    load(models / "classifier")
    load(models / "several")
    assert ask(load(models / "namesakes"), x=floats(3))["y"].tolist() == [6.0]
    assert all(frozen)
    frozen.clear()
    table = load(models / "lookup")
    assert ask(table, word=strings(b"dog", b"cat", b"cow"))["number"].tolist() == [9, 7, -1]
    assert ask(table, "double", x=floats(3))["y"].tolist() == [6.0]
    assert frozen == [False, True, False]  # both, double, serving_default
    frozen.clear()
    load(models / "counter")
    assert frozen == [False]


def test_the_signatures_of_a_version_share_their_weights(
    load: Load, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    open_session = saved_model.open_session

    def noting(*arguments: Any) -> Any:
        opened.append(arguments)
        return open_session(*arguments)

    monkeypatch.setattr(saved_model, "open_session", noting)
    model = load(models / "several")
    assert len(model.signatures) == 3
    assert len(opened) == 1


def test_loading_leaves_the_log_to_the_engine(load: Load, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        load(models / "classifier")
        load(models / "counter")
    assert caplog.records == []


def test_a_model_that_keeps_count_keeps_it(load: Load, models: Path) -> None:
    model = load(models / "counter")
    first = float(ask(model, x=floats(0))["y"][0])
    assert [float(ask(model, x=floats(0))["y"][0]) for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_a_model_exported_by_keras_gives_the_answers_of_keras(load: Load, tmp_path: Path) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    keras_model = make.keras_export(tmp_path / "keras")
    model = load(tmp_path / "keras")
    (name,) = model.signatures["serving_default"].inputs
    features = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    (scores,) = ask(model, **{name: features}).values()
    np.testing.assert_allclose(scores, np.asarray(keras_model(features)), atol=1e-5)


def test_a_keras_model_whose_variables_tensorflow_1_does_not_find_is_loaded_and_frozen_all_the_same(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    opened: list[Any] = []
    open_session = saved_model.open_session

    def noting(*arguments: Any) -> Any:
        opened.append(arguments[1])
        return open_session(*arguments)

    monkeypatch.setattr(saved_model, "open_session", noting)
    keras_model = make.keras_saved(tmp_path / "saved")
    model = load(tmp_path / "saved")
    features = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    wanted = np.asarray(keras_model(features))
    np.testing.assert_allclose(ask(model, features=features)["scores"], wanted, atol=1e-5)
    assert ask(model, "best", features=features)["best"].tolist() == wanted.argmax(axis=1).tolist()
    digits = ask(model, "digits", a=floats(1), b=floats(2), c9=floats(3), c10=floats(4))
    assert digits.pop("y").tolist() == [2143]
    assert {name: array.tolist() for name, array in digits.items()} == {f"o{n}": [n] for n in range(12)}
    assert set(model.unjoined) == {"digits"}
    (graph,) = opened  # one for all signatures, which share the weights
    assert sum(node.op == "Const" and node.ByteSize() > 300 * 4 for node in graph.node) == 3


def test_a_table_of_such_a_model_works_too(load: Load, tmp_path: Path) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    keras_model = make.keras_saved(tmp_path / "saved", words=True)
    model = load(tmp_path / "saved")
    words = np.array([[b"dog"], [b"cow"], [b"cat"]], dtype=np.object_)
    (name,) = model.signatures["serving_default"].inputs
    (scores,) = ask(model, **{name: words}).values()
    np.testing.assert_allclose(scores, np.asarray(keras_model(make.tf.constant(words))), atol=1e-6)


def test_only_what_is_shown_to_have_independent_rows_is_joined(load: Load, models: Path) -> None:
    model = load(models / "strangers")
    assert set(model.batchers) == {"serving_default"}
    reasons = {
        "centre": "depends on the other rows",
        "repeat": "rows of input",
        "count": "it changes state (AssignAddVariableOp)",
        "noise": "it draws random numbers (RandomUniform)",
        "total": "is not variable",
        "words": "is not variable",
        "first": "is not variable",
        "defaults": "is not variable",
        "python": "it can't be run: it runs Python code (PyFunc)",
        "fixed": "is not variable",
    }
    assert reasons.keys() == model.unjoined.keys()
    assert {name for name, says in reasons.items() if says not in model.unjoined[name]} == set()


def test_what_is_not_joined_gets_what_the_graph_gives(load: Load, models: Path) -> None:
    model = load(models / "strangers")
    assert ask(model, "repeat", x=np.array([3, 0, 1], np.int32))["y"].tolist() == [3, 3, 3, 1]
    assert ask(model, "centre", x=floats(1, 3))["y"].tolist() == [-1, 1]
    assert ask(model, "total", x=floats(1, 3))["y"].tolist() == 4
    # The graph sums over the one dimension that it was traced for.
    assert ask(model, "total", x=np.ones((2, 2), np.float32))["y"].tolist() == [2, 2]
    assert ask(model, "fixed", x=floats(1, 2))["y"].tolist() == [2, 4]
    split = ask(model, "words", x=strings(b"a b", b"", b"c"))
    assert split["words"].tolist() == [b"a", b"b", b"c"]
    assert split["words_1"].tolist() == [0, 2, 2, 3]
    assert split["count"].tolist() == 3
    first = ask(model, "first", x=strings(b"a\0", b"b"))["word"]
    assert (first.dtype, first.shape, first.tolist()) == (np.object_, (), b"a\0")
    assert ask(model, "words", "words_1", x=strings(b"a b"))["words_1"].tolist() == [0, 2]
    assert ask(model, "defaults", x=floats(1, 2))["y"].tolist() == [3, 6]
    assert ask(model, "defaults", x=floats(1, 2), k=np.float32(5))["y"].tolist() == [5, 10]


def test_a_signature_that_can_not_be_run_says_why(load: Load, models: Path) -> None:
    with pytest.raises(UnfitSignature, match=r"The signature 'python' can't be run: it runs Python code \(PyFunc\)"):
        ask(load(models / "strangers"), "python", x=floats(1))


def test_joined_as_tensorflow_serving_does_or_not_at_all_where_it_is_asked_for(models: Path) -> None:
    for parameters, joined in (
        (BatchingParameters(row_test=False), {"serving_default", "centre", "repeat", "count", "noise"}),
        (None, set()),
    ):
        model = loading.load(models / "strangers", "m", 1, parameters, DeviceSettings(threads=1))
        assert set(model.batchers) == joined
        assert set(model.unjoined) == set(model.signatures) - joined
        assert ask(model, x=floats(1, 2))["y"].tolist() == [2, 4]
        model.close()


def test_strings_are_joined_where_the_warm_up_file_shows_that_they_may_be(
    load: Load, copy: Callable[[str], Path]
) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    folder = copy("lookup")
    assert "warm-up file lacks two rows" in load(folder).unjoined["serving_default"]
    (folder / store.EXTRA).mkdir()
    with make.tf.io.TFRecordWriter(str(folder / store.WARMUP)) as file:
        for word in (b"cat", b"cow"):
            file.write(protocol.predict_log("m", "", {"word": strings(word)}))
    assert load(folder).unjoined == {}


def test_a_model_that_never_ends_on_drawn_inputs_is_loaded_all_the_same(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    monkeypatch.setattr(saved_model, "_TRIAL_S", 0.3)
    monkeypatch.setattr(row_test, "_MOST_S", 0.5)
    model = load(make.endless(tmp_path / "endless"))
    assert model.unjoined["serving_default"] == "its row test took more than 0 s"
    assert ask(model, x=floats(2, -3))["y"].tolist() == [2, -3]


def test_a_model_that_is_found_to_mix_rows_is_not_joined_any_more(load: Load, models: Path, caplog: Any) -> None:
    stopped: list[Any] = []
    model = load(models / "strangers", lambda *about: stopped.append(about))
    batcher = model.batchers["serving_default"]
    model.stop_joining("serving_default", "its rows are not its own")
    model.stop_joining("serving_default", "said twice")
    assert "m version 3: requests of the signature 'serving_default' are no longer joined in batches: its rows" in (
        caplog.text
    )
    assert stopped == [("m", 3, "serving_default")]
    assert model.unjoined["serving_default"] == "its rows are not its own"
    assert model.batchers == {}
    assert ask(model, x=floats(1, 2))["y"].tolist() == [2, 4]
    assert batcher.queued_rows == 0


def test_an_output_that_is_an_input_comes_back(load: Load, tmp_path: Path) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    model = load(make.passes_through(tmp_path / "through"))
    keys = np.array([7, 9])
    answered = ask(model, key=keys, x=floats(1, 2))
    assert {name: array.tolist() for name, array in answered.items()} == {"key": [7, 9], "y": [2, 4]}
    assert ask(model, "serving_default", "key", key=keys, x=floats(1, 2))["key"].tolist() == [7, 9]
    assert ask(model, "keys", key=keys)["key"].tolist() == [7, 9]
    assert model.unjoined == {}


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        # On these TensorFlow ends the process, unless something asks before.
        (
            (),
            r"has the shape \[\]; the signature takes \[-1, -1, -1, 3\]\. The graph rejects it: Shape must be rank 4",
        ),
        ((5,), "The graph rejects it: Shape must be rank 4 but is rank 1"),
        ((2, 0, 1), "rank 3"),
        ((1, 5, 5, 3, 1), "rank 5"),
        ((1, 5, 5, 2), r"has the shape \[1, 5, 5, 2\].*[Dd]epth"),
        # And on these it says that it failed, though they are what the signature declares.
        ((1, 3, 5, 3), "does not accept this input: .*[Nn]egative dimension size"),
        ((1, 0, 5, 3), "does not accept this input"),
    ],
)
def test_no_shape_costs_more_than_its_own_answer(load: Load, models: Path, shape: tuple[int, ...], says: str) -> None:
    model = load(models / "convolution")
    for _ in range(2):  # the judgement is remembered
        with pytest.raises(InvalidRequest, match=says):
            ask(model, pixels=np.zeros(shape, np.float32))
    (pooled,) = ask(model, pixels=np.zeros((2, 8, 7, 3), np.float32)).values()
    assert pooled.shape == (2, 4)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, r"takes the inputs \['image'\], not \[\]"),
        ({"picture": WHITE}, r"takes the inputs \['image'\], not \['picture'\]"),
        ({"image": WHITE, "more": WHITE}, "takes the inputs"),
        ({"image": WHITE.astype(np.float32)}, "'image' is DT_FLOAT; the signature takes DT_UINT8"),
        ({"image": strings(b"x")}, "'image' is DT_STRING"),
        ({"image": WHITE[0]}, r"shape \[2, 3, 3\]; the signature takes \[-1, 2, 3, 3\]"),
        ({"image": WHITE[:, :1]}, r"shape \[1, 1, 3, 3\]"),
    ],
)
def test_inputs_that_do_not_fit_the_signature_are_refused(
    load: Load, models: Path, inputs: dict[str, Array], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        ask(load(models / "classifier"), **inputs)


def test_what_the_signature_does_not_have_is_told(load: Load, models: Path) -> None:
    model = load(models / "several")
    with pytest.raises(NotFound, match=r'"x" not found in signature def of model m version 3; it has no_batches'):
        ask(model, "x", a=floats(1))
    with pytest.raises(
        InvalidRequest, match=r"not found in signature: x Outputs expected to be in the set \{again,first,sum\}"
    ):
        ask(model, "serving_default", "x", z=floats(1), a=floats(1), m=floats(1))


def test_shapes_that_differ_from_the_declared_ones_get_what_the_graph_gives(load: Load, models: Path) -> None:
    model = load(models / "several")
    assert ask(model, z=floats(1), a=floats(1, 2), m=floats(1))["sum"].tolist() == [111, 121]
    assert ask(model, z=floats(1), a=np.float32(1), m=np.ones((2, 1), np.float32))["sum"].tolist() == [[111], [111]]
    assert ask(model, z=floats(), a=floats(), m=floats())["sum"].tolist() == []
    with pytest.raises(InvalidRequest, match=r"^The model does not accept this input: .*[Ii]ncompatible shapes"):
        ask(model, z=floats(1, 2, 3), a=floats(1, 2), m=floats(1))
    with pytest.raises(
        InvalidRequest, match=r"^Input 'z' has the shape \[2, 3\]; the signature takes \[-1\]\. The graph"
    ):
        ask(model, z=np.ones((2, 3), np.float32), a=floats(1, 2), m=floats(1))
    none = ask(load(models / "classifier"), image=WHITE[:0])
    assert (none["scores"].shape, none["classes"].shape) == ((0, 2), (0, 2))


def test_values_that_the_graph_refuses_are_the_clients_mistake(load: Load, models: Path) -> None:
    model = load(models / "picky")
    assert ask(model, x=floats(4))["root"].tolist() == [2.0]
    with pytest.raises(InvalidRequest, match=r"does not accept this input: .*Negative numbers are not taken"):
        ask(model, x=floats(-1))
    with pytest.raises(InvalidRequest, match=r"does not accept this input: indices\[0\] = 7 is not in \[0, 2\)$"):
        ask(model, "pick", index=np.array([7], np.int32))
    with pytest.raises(InvalidRequest, match=r"does not accept this input: Unknown image file format"):
        ask(model, "decode", image=strings(b"no image"))


def test_a_saved_model_that_is_garbage_is_refused(load: Load, copy: Callable[[str], Path]) -> None:
    folder = copy("classifier")
    for garbage in (b"garbage", b"\xff" * 100, (folder / store.SAVED_MODEL).read_bytes()[:500]):
        (folder / store.SAVED_MODEL).write_bytes(garbage)
        with pytest.raises(
            LoadFailed, match=r"saved_model.pb is not a SavedModel|has no graph|has no signature"
        ) as caught:
            load(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_variables_that_are_missing_or_cut_are_refused(load: Load, copy: Callable[[str], Path], damage: str) -> None:
    folder = copy("classifier")
    if damage == "gone":
        shutil.rmtree(folder / "variables")
    for path in folder.glob("variables/variables.data-*"):
        path.write_bytes(path.read_bytes()[: 3 if damage == "cut" else 0])
    with pytest.raises(LoadFailed, match=rf"^{folder} (can't be loaded|does not run): ") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_graph_that_is_not_for_serving_is_refused(load: Load, copy: Callable[[str], Path]) -> None:
    folder = copy("classifier")
    saved_model = protocol.saved_model_pb2.SavedModel.FromString((folder / store.SAVED_MODEL).read_bytes())
    del saved_model.meta_graphs[0].meta_info_def.tags[:]
    saved_model.meta_graphs[0].meta_info_def.tags.append("train")
    (folder / store.SAVED_MODEL).write_bytes(saved_model.SerializeToString())
    with pytest.raises(LoadFailed, match=r"has no graph tagged 'serve' \(its graphs are tagged: train\); export it"):
        load(folder)


def test_a_model_without_a_signature_is_refused(load: Load, tmp_path: Path) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    folder = make.save(make.tf.Module(), tmp_path / "none")
    with pytest.raises(LoadFailed, match="has no signature; export it with one named 'serving_default'"):
        load(folder)


def test_scores_as_recorded_are_accepted_and_others_refused(load: Load, copy: Callable[[str], Path]) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    folder = copy("classifier")
    make.golden(folder, offset=0.001)
    load(folder)
    make.golden(folder, offset=0.1)
    with pytest.raises(LoadFailed, match=r"scores differ from those recorded in golden.npz by up to 0\.1 "):
        load(folder)
    np.savez(folder / store.GOLDEN, image=WHITE, scores=np.full((1, 2), np.nan, np.float32))
    with pytest.raises(LoadFailed, match="differ"):
        load(folder)
    np.savez(folder / store.GOLDEN, image=WHITE, scores=np.zeros((1, 3), np.float32))
    with pytest.raises(
        LoadFailed, match=r"its scores for golden.npz have the shape \(1, 2\), the recorded ones \(1, 3\)"
    ):
        load(folder)
    (folder / store.GOLDEN).write_bytes(b"garbage")
    with pytest.raises(LoadFailed, match=r"does not run|golden"):
        load(folder)


def test_the_warm_up_file_is_replayed(load: Load, copy: Callable[[str], Path]) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    def warm_up(folder: Path, *records: bytes) -> Path:
        (folder / store.EXTRA).mkdir(exist_ok=True)
        with make.tf.io.TFRecordWriter(str(folder / store.WARMUP)) as file:
            for record in records:
                file.write(record)
        return folder

    once = protocol.predict_log("other name", "", {"x": floats(1)})
    counting = load(warm_up(copy("counter"), once, once, once))
    assert ask(counting, x=floats(0))["y"].tolist() == [4.0]  # three records and this request
    wrong = warm_up(copy("classifier"), protocol.predict_log("m", "x", {"image": WHITE}))
    with pytest.raises(LoadFailed, match="'x'"):
        load(wrong)


def test_a_session_that_stays_is_asked_for_one_set_of_outputs(
    load: Load, copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow keeps a graph, with a copy of the weights, for each set that a session was ever asked for."""
    from tests.unit.service.engine.tf import saved_models as make

    asked: dict[str, set[tuple[str, ...]]] = {}
    make_run = tf_session.run_of

    def noting(tf: Any, session: Any, *rest: Any) -> Any:
        run = make_run(tf, session, *rest)

        def noting_run(inputs: Any, outputs: tuple[str, ...]) -> Any:
            asked.setdefault(str(session), set()).add(outputs)
            return run(inputs, outputs)

        return noting_run

    monkeypatch.setattr(saved_model, "run_of", noting)
    monkeypatch.setattr(graph_loader, "run_of", noting)
    folder = copy("classifier")
    (folder / store.EXTRA).mkdir(exist_ok=True)
    with make.tf.io.TFRecordWriter(str(folder / store.WARMUP)) as file:
        file.write(protocol.predict_log("m", "", {"image": WHITE}))
    model = load(folder)
    assert set(ask(model, image=WHITE)) == {"scores", "classes"}
    assert sorted(asked.values()) == [{()}, {("scores",)}]  # the one that loaded it, and the one that stays


def test_class_names_must_be_unique_and_as_many_as_scores(load: Load, tmp_path: Path) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    with pytest.raises(LoadFailed, match="class names are not unique: a, a"):
        load(make.classifier(tmp_path / "twice", ("a", "a")))


def test_after_close_requests_are_told_to_come_again(load: Load, models: Path) -> None:
    model = load(models / "several")
    model.close()
    with pytest.raises(Unavailable):
        ask(model, z=floats(1), a=floats(1), m=floats(1))
    model.close()  # once more does no harm


def test_without_batching_each_request_runs_by_itself(models: Path) -> None:
    model = loading.load(models / "classifier", "m", 3, None, DeviceSettings(threads=1))
    try:
        answer = model.predict({"image": np.concatenate([WHITE] * 5)}, Call(time.monotonic() + LONG_S))
        assert answer.outputs["scores"].shape == (5, 2)
        assert (answer.batch_rows, model.queue.rows) == (5, 0)
    finally:
        model.close()


def test_in_16_bits_the_scores_stay_close(models: Path) -> None:
    device = DeviceSettings(intra_op_threads=1, inter_op_threads=1, mixed_precision=True)
    model = loading.load(models / "classifier", "m", 3, BatchingParameters(max_batch_size=4), device)
    try:
        np.testing.assert_allclose(ask(model, image=WHITE)["scores"], [[0, 1]], atol=0.02)
    finally:
        model.close()


def test_a_graph_is_found_by_its_tags(models: Path) -> None:
    parameters = BatchingParameters()
    loading.load(models / "classifier", "m", 3, parameters, DeviceSettings(threads=1), tags=("serve",)).close()
    with pytest.raises(LoadFailed, match="no graph tagged 'gpu, serve'"):
        loading.load(models / "classifier", "m", 3, parameters, DeviceSettings(threads=1), tags=("serve", "gpu"))


def test_every_device_gets_a_copy_and_all_give_the_same_scores(models: Path) -> None:
    device = DeviceSettings(cpu_devices=3)  # TensorFlow's stand-in for three GPUs
    loaded = loading.load(models / "classifier", "m", 1, BatchingParameters(), device)
    try:
        size = loaded.signatures["serving_default"].image
        assert size is not None
        image = {"image": np.full((2, size.height, size.width, size.channels), 99, dtype=np.uint8)}
        answers = [loaded.predict(image, Call(time.monotonic() + LONG_S)).outputs["scores"] for _ in range(6)]
        assert all(np.array_equal(answers[0], each) for each in answers)
    finally:
        loaded.close()


def test_a_batch_keeps_within_its_memory(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parameters = BatchingParameters(max_batch_size=32, max_batch_memory_mb=24)
    model = loading.load(models / "hungry", "m", 3, parameters, DeviceSettings(threads=1))
    rows = model.batchers["serving_default"].most_rows
    assert 1 < rows <= 12  # an operation of 2 MiB a row, with or without its input
    assert f"batches have at most {rows} of them (--max-batch-memory-mb)" in caplog.text
    x = np.linspace(0, 1, 32, dtype=np.float32)
    assert ask(model, x=x)["y"].shape == (32,)
    model.close()


def test_what_takes_little_memory_is_batched_as_asked(models: Path) -> None:
    model = loading.load(
        models / "classifier", "m", 3, BatchingParameters(max_batch_memory_mb=1), DeviceSettings(threads=1)
    )
    assert model.batchers["serving_default"].most_rows == BatchingParameters().max_batch_size
    model.close()
