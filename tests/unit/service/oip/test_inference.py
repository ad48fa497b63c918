"""Requests fitted to a signature and run, over servables without TensorFlow."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequest, NotFound, Overloaded, TooLarge, Unavailable
from service.images import ImageLimits
from service.interface import Array, Call, ModelSpec, State, VersionStatus
from service.oip import about, inference, json_request
from service.oip.inference import Ran, infer
from service.oip.requests import InferRequest, Options, Rules, Wanted, spec_of
from service.oip.tensors import Tensor, objects
from service.telemetry.timings import Timings
from tests.fakes import FakeEngine, FakeServable, classifier, signature, spec
from tests.unit.service.gateway.pictures import BLACK, WHITE

RULES = Rules(ImageLimits(), 3, 64, 0)


def double() -> FakeServable:
    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        outputs: dict[str, Array] = {"y": inputs["x"] * 2, "n": np.array([b"n"] * len(inputs["x"]), np.object_)}
        return {name: outputs[name] for name in call.outputs or outputs}

    outputs = [spec("y", "DT_FLOAT", -1, 2), spec("n", "DT_STRING", -1)]
    return FakeServable(run, {"serving_default": signature([spec("x", "DT_FLOAT", -1, 2)], outputs)}, "double")


X = Tensor("x", "FP32", np.float32([[1, 2]]))
IMAGES = Tensor("image", "BYTES", objects([BLACK, WHITE], (2,)))


def run(servable: FakeServable, *inputs: Tensor, outputs: tuple[Wanted, ...] = (), **options: Any) -> Ran:
    request = InferRequest("", inputs, outputs, Options(**options))
    return infer(servable, request, Call(time.monotonic() + 60), RULES, Timings())


def test_outputs_are_all_or_those_named_in_their_order() -> None:
    servable = double()
    assert [output.name for output in run(servable, X).outputs] == ["y", "n"]
    ran = run(servable, X, outputs=(Wanted("n", binary=True), Wanted("y")))
    assert [(output.name, output.datatype, output.binary) for output in ran.outputs] == [
        ("n", "BYTES", True),
        ("y", "FP32", False),
    ]
    assert servable.asked[-1][1].outputs == ("n", "y")


def test_images_are_decoded_and_scores_shown_alone() -> None:
    servable = classifier("letters", 1, ("dark", "bright"))
    ran = run(servable, IMAGES)
    [scores] = ran.outputs
    assert (scores.name, scores.array.tolist(), ran.images) == ("scores", [[1, 0], [0, 1]], 2)
    assert servable.asked[-1][0]["image"].shape == (2, 2, 3, 3)
    top = run(servable, IMAGES, outputs=(Wanted("scores", classes=1),)).outputs[0]
    assert top.array.tolist() == [[b"1.000000:0:dark"], [b"1.000000:1:bright"]]
    named = run(servable, IMAGES, outputs=(Wanted("classes"),)).outputs[0]
    assert named.array.tolist() == [[b"dark", b"bright"]] * 2


def test_pixels_are_not_decoded() -> None:
    servable = classifier("letters", 1, ("dark", "bright"))
    pixels = np.zeros((1, 2, 3, 3), np.uint8)
    ran = run(servable, Tensor("image", "UINT8", pixels))
    assert ran.images == 0
    assert servable.asked[-1][0]["image"] is pixels


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ([Tensor("z", "FP32", X.array)], (), "unexpected inference input 'z'"),
        ([Tensor("x", "FP64", X.array)], (), "expects 'FP32'"),
        ([Tensor("x", "BYTES", IMAGES.array)], (), "expects 'FP32'"),
        ([X, X], (), "'x' already exists"),
        ([X], (Wanted("z"),), "unexpected inference output 'z'"),
        ([X], (Wanted("y"), Wanted("y")), "'y' already exists"),
        ([X], (Wanted("n", classes=1),), "can't be classified"),
    ],
)
def test_what_does_not_fit_is_refused(inputs: list[Tensor], outputs: tuple[Wanted, ...], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        run(double(), *inputs, outputs=outputs)


def test_images_have_limits_and_one_that_is_broken_is_named() -> None:
    servable = classifier("letters", 1, ("dark", "bright"))
    for array, error, says in (
        (objects([WHITE] * 4, (4,)), TooLarge, "4 images; at most 3"),
        (objects([WHITE] * 4, (2, 2)), InvalidRequest, r"\[N\] or \[N, 1\]"),
        (objects([WHITE, b"x"], (2,)), InvalidRequest, "Image 1 of input 'image'"),
    ):
        with pytest.raises(error, match=says):
            run(servable, Tensor("image", "BYTES", array))
    assert servable.asked == []
    servable.full = Overloaded("full", 1.0)
    with pytest.raises(Overloaded):
        run(servable, Tensor("image", "BYTES", objects([b"x"], (1,))))


def test_a_signature_is_chosen_by_name_or_is_the_only_one() -> None:
    servable = double()
    [(_, only)] = servable.signatures.items()
    servable.signatures = {"other": only}
    assert run(servable, X).outputs
    assert servable.asked[-1][1].signature_name == "other"
    servable.signatures = {"other": only, "another": only}
    with pytest.raises(NotFound, match="signature_name: other, another"):
        run(servable, X)
    assert run(servable, X, signature_name="another").outputs


@pytest.mark.parametrize(
    ("version", "spec_wanted"),
    [
        ("", ModelSpec("m")),
        ("3", ModelSpec("m", 3)),
        ("007", ModelSpec("m", 7)),
        ("canary", ModelSpec("m", label="canary")),
        ("²", ModelSpec("m", label="²")),
        ("-1", ModelSpec("m", label="-1")),
        ("9" * 5000, ModelSpec("m", label="9" * 5000)),
    ],
)
def test_a_version_that_is_no_number_is_a_label(version: str, spec_wanted: ModelSpec) -> None:
    assert spec_of("m", version) == spec_wanted


def test_what_is_not_there_is_told_in_the_protocol_s_words() -> None:
    engine = FakeEngine(classifier("m", 1), classifier("m", 2), labels={"stable": 1})
    for spec_wanted, says in (
        (ModelSpec("n"), "Request for unknown model: 'n' is not found"),
        (ModelSpec("m", 9), "Request for unknown model: 'm' version 9 is not found; it has 1, 2"),
        (ModelSpec("m", label="x"), "Request for unknown model: 'm' version x is not found"),
    ):
        with pytest.raises(NotFound, match=says), inference.leased(engine, spec_wanted):
            pass
        assert not inference.is_ready(engine, spec_wanted)
    assert inference.is_ready(engine, ModelSpec("m", label="stable"))


def test_a_version_that_has_failed_is_known_and_not_ready() -> None:
    engine = FakeEngine(classifier("m", 1))
    engine.states = {"m": (VersionStatus(2, State.END, "it is broken"), VersionStatus(1, State.AVAILABLE))}
    with pytest.raises(Unavailable, match="it is broken"):
        inference.check_ready(engine, ModelSpec("m", 2))
    states = {each["version"]: (each["state"], each["reason"]) for each in about.index(engine.status())}
    assert states == {"1": ("READY", ""), "2": ("UNAVAILABLE", "it is broken")}
    assert [each["version"] for each in about.index(engine.status(), only_ready=True)] == ["1"]
    assert about.index(engine.status(), unloaded=["m", "z"])[-1] == {
        "name": "z", "version": "", "state": "UNAVAILABLE", "reason": "unloaded",
    }  # fmt: skip


def test_metadata_and_configuration_show_what_triton_s_image_client_asks_for() -> None:
    """One input of three sizes, one output, a batch dimension of its own."""
    letters = classifier("letters", 3, ("dark", "bright"))
    metadata = about.metadata(letters, FakeEngine(classifier("letters", 2), letters).status())
    assert metadata["versions"] == ["2", "3"]
    [given], [answered] = metadata["inputs"], metadata["outputs"]
    assert (given["datatype"], given["shape"]) == ("UINT8", [-1, 2, 3, 3])
    assert (answered["name"], answered["datatype"], answered["shape"]) == ("scores", "FP32", [-1, 2])
    config = about.config(letters, RULES)
    assert config["max_batch_size"] == RULES.max_images
    [given], [answered] = config["input"], config["output"]
    assert (given["format"], given["dims"]) == ("FORMAT_NHWC", [2, 3, 3])
    assert (answered["dims"], answered["label_filename"]) == ([2], "classes")
    assert about.config(double(), RULES)["max_batch_size"] == RULES.max_rows


def test_a_model_of_unbatched_tensors_has_no_batch_size() -> None:
    scalars = signature([spec("x", "DT_FLOAT")], [spec("y", "DT_FLOAT", 3)])
    servable = FakeServable(lambda *_: {"y": np.float32([1, 3, 2])}, {"serving_default": scalars})
    config = about.config(servable, RULES)
    assert (config["max_batch_size"], config["output"][0]["dims"]) == (0, [3])
    x = Tensor("x", "FP32", np.float32(1))
    top = run(servable, x, outputs=(Wanted("y", classes=2),)).outputs[0]
    assert top.array.tolist() == [b"3.000000:1", b"2.000000:2"]


def test_a_type_without_a_name_is_told() -> None:
    complex_ = signature([spec("x", "DT_COMPLEX64", -1)], [spec("y", "DT_FLOAT", -1)])
    servable = FakeServable(lambda *_: {}, {"serving_default": complex_})
    with pytest.raises(InvalidRequest, match="DT_COMPLEX64"):
        about.metadata(servable, FakeEngine(servable).status())
    with pytest.raises(InvalidRequest, match="DT_COMPLEX64"):
        run(servable, Tensor("x", "FP32", np.float32([1])))


def test_a_body_without_json_is_the_only_input() -> None:
    letters = classifier("letters").signatures["serving_default"]
    [image] = json_request.read_raw(WHITE, letters).inputs
    assert (image.datatype, image.array.tolist()) == ("BYTES", [WHITE])
    [tensor] = json_request.read_raw(np.float32([1, 2, 3, 4]).tobytes(), double().signatures["serving_default"]).inputs
    assert tensor.array.tolist() == [[1, 2], [3, 4]]
    strings = signature([spec("s", "DT_STRING", -1, -1)], [])
    [tensor] = json_request.read_raw(b"abc", strings).inputs
    assert tensor.array.tolist() == [[b"abc"]]
    for inputs in ([], [spec("a", "DT_FLOAT", -1), spec("b", "DT_FLOAT", -1)], [spec("a", "DT_FLOAT", -1, -1)]):
        with pytest.raises(InvalidRequest):
            json_request.read_raw(b"\0" * 8, signature(inputs, []))
