"""What a SavedModel's file says, without TensorFlow: signatures, and what they may run."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from service import protocol, signature_messages
from service.engine.tf import definition
from service.engine.tf.definition import operations_behind
from service.errors import LoadFailed

FLOAT, INT64 = protocol.types_pb2.DT_FLOAT, protocol.types_pb2.DT_INT64


def a_graph(*nodes: tuple[str, str, list[str]], **functions: list[str]) -> Any:
    """Nodes as name, operation and inputs; functions by name with the operations in them."""
    graph = protocol.meta_graph_pb2.MetaGraphDef().graph_def
    for name, op, inputs in nodes:
        graph.node.add(name=name, op=op, input=inputs)
    for name, ops in functions.items():
        function = graph.library.function.add()
        function.signature.name = name
        for number, op in enumerate(ops):
            function.node_def.add(name=f"n{number}", op=op)
    return graph


def write(folder: Path, *operations: str, text: bool = False, **tensors: str) -> Path:
    """A SavedModel whose signatures are y = operation(x), or name other tensors."""
    model = protocol.saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.graph_def.node.add(name="x", op="Placeholder")
    for number, operation in enumerate(operations):
        graph.graph_def.node.add(name=f"y{number}", op=operation, input=["x"])
        signature = graph.signature_def[f"s{number}"]
        signature.inputs["x"].name, signature.inputs["x"].dtype = "x:0", FLOAT
        signature.outputs["y"].name, signature.outputs["y"].dtype = f"y{number}:0", FLOAT
    for name, tensor in tensors.items():
        graph.signature_def[name].outputs["y"].name = tensor
        graph.signature_def[name].outputs["y"].dtype = FLOAT
    folder.mkdir(exist_ok=True)
    if text:
        (folder / "saved_model.pbtxt").write_text(text_format.MessageToString(model))
    else:
        (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def test_operations_are_followed_through_inputs_and_functions_and_no_further() -> None:
    graph = a_graph(
        ("x", "Placeholder", []),
        ("v", "VarHandleOp", []),
        ("call", "outer", ["x", "v:0"]),
        ("y", "Identity", ["call:1", "^side"]),
        ("side", "NoOp", []),
        ("save", "SaveV2", ["v"]),
        outer=["MatMul", "inner"],
        inner=["Relu"],
        unused=["PyFunc"],
    )
    found = operations_behind(graph, ["y:0"])
    assert {"Placeholder", "VarHandleOp", "Identity", "NoOp", "MatMul", "Relu"} <= found
    assert not {"SaveV2", "PyFunc"} & found
    assert "VarHandleOp" not in operations_behind(graph, ["y:0"], fed=["call:1"])


def test_functions_that_are_attributes_are_followed_too() -> None:
    graph = a_graph(("x", "Placeholder", []), ("y", "If", ["x"]), yes=["AssignAddVariableOp"], no=["while_body"])
    graph.node[1].attr["then_branch"].func.name = "yes"
    graph.node[1].attr["branches"].list.func.add(name="no")
    assert {"If", "AssignAddVariableOp"} <= operations_behind(graph, ["y"])


@pytest.mark.parametrize("text", [False, True])
def test_both_forms_of_the_file_are_read(tmp_path: Path, text: bool) -> None:
    found = definition.read(write(tmp_path / "m", "Relu", text=text), ["serve"])
    assert list(found.signatures) == ["s0"]
    assert found.operations["s0"] == {"Relu"}
    assert (found.tags, found.has_objects) == (["serve"], False)


def test_python_code_is_refused_naming_the_operation(tmp_path: Path) -> None:
    with pytest.raises(
        LoadFailed, match=r"of its signature 's0': it runs Python code \(EagerPyFunc\), .* export it with"
    ):
        definition.read(write(tmp_path / "m", "EagerPyFunc", "PyFunc"), ["serve"])


def test_one_signature_that_can_not_be_run_leaves_the_others(tmp_path: Path) -> None:
    found = definition.read(write(tmp_path / "m", "Relu", "PyFunc", lost="gone:0", none=""), ["serve"])
    assert found.why_not_run("s0") == ""
    assert "runs Python code (PyFunc)" in found.why_not_run("s1")
    assert found.why_not_run("lost") == "it names the tensor 'gone:0', which the graph does not have"
    assert "(no name)" in found.why_not_run("none")


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        ("AssignAddVariableOp", "it changes state (AssignAddVariableOp)"),
        ("MutableHashTableV2", "it changes state (MutableHashTableV2)"),
        ("LookupTableInsertV2", "it changes state (LookupTableInsertV2)"),
        ("RandomUniform", "it draws random numbers (RandomUniform)"),
        ("StatefulPartitionedCall", ""),
        ("StatelessRandomUniform", ""),
        ("LookupTableFindV2", ""),
        ("HashTableV2", ""),
        ("ScatterNd", ""),
        ("VarHandleOp", ""),
    ],
)
def test_what_makes_calls_differ_is_named(tmp_path: Path, operation: str, says: str) -> None:
    assert definition.read(write(tmp_path / "m", operation), ["serve"]).why_calls_differ("s0") == says


def test_a_type_that_no_request_can_carry_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", "Relu", "Relu")
    model = protocol.saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    model.meta_graphs[0].signature_def["s0"].outputs["y"].dtype = protocol.types_pb2.DT_VARIANT
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    found = definition.read(folder, ["serve"])
    assert found.why_not_run("s0") == "'y' has the type DT_VARIANT, which no request or answer can carry"
    assert found.why_not_run("s1") == ""


def test_ragged_and_sparse_tensors_are_told_by_their_parts() -> None:
    proto = protocol.meta_graph_pb2.SignatureDef()
    for tensor, dtype in (("values:0", FLOAT), ("splits:0", INT64)):
        proto.outputs["words"].composite_tensor.components.add(name=tensor, dtype=dtype)
    proto.outputs["words_1"].name, proto.outputs["words_1"].dtype = "other:0", FLOAT
    sparse = proto.inputs["s"].coo_sparse
    sparse.indices_tensor_name, sparse.values_tensor_name, sparse.dense_shape_tensor_name = "i:0", "v:0", "d:0"
    proto.inputs["s"].dtype = FLOAT
    signature = signature_messages.read_signature(proto)
    assert {name: spec.tensor for name, spec in signature.outputs.items()} == {
        "words": "values:0",
        "words_2": "splits:0",
        "words_1": "other:0",
    }
    assert [(spec.tensor, spec.dtype_name) for spec in signature.inputs.values()] == [
        ("i:0", "DT_INT64"),
        ("v:0", "DT_FLOAT"),
        ("d:0", "DT_INT64"),
    ]
    again = signature_messages.read_signature(signature_messages.write_signature(signature))
    assert list(again.inputs) == ["s", "s_1", "s_2"]


def test_defaults_survive_the_way_to_a_gateway() -> None:
    proto = protocol.meta_graph_pb2.SignatureDef()
    proto.inputs["k"].dtype = FLOAT
    proto.defaults["k"].CopyFrom(protocol.tensor_pb2.TensorProto(dtype=FLOAT, float_val=[3.0]))
    again = signature_messages.read_signature(
        signature_messages.write_signature(signature_messages.read_signature(proto))
    )
    assert again.defaults["k"].tolist() == 3.0


def test_a_graph_with_other_tags_is_told_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"no graph tagged 'gpu' \(its graphs are tagged: serve\).*--saved_model_tags"):
        definition.read(write(tmp_path / "m", "Relu"), ["gpu"])
