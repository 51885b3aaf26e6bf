# SPDX-License-Identifier: Apache-2.0
"""A TensorFlow graph may contain only operations that compute."""

from types import SimpleNamespace

import pytest

from convert_to_trt.tensorflow_code_check import graph_operations, reject_graph
from mask_detector_ros.errors import ModelError


def graph(*operations, functions=()):
    """The parts of a GraphDef that the check reads."""
    nodes = [SimpleNamespace(op=operation) for operation in operations]
    library = [
        SimpleNamespace(
            signature=SimpleNamespace(name=name),
            node_def=[SimpleNamespace(op=operation) for operation in body],
        )
        for name, body in functions
    ]
    return SimpleNamespace(node=nodes, library=SimpleNamespace(function=library))


def test_a_graph_of_arithmetic_passes():
    reject_graph(graph_operations(graph("Placeholder", "Const", "Conv2D", "Softmax")), "mask.pb")


@pytest.mark.parametrize(
    "operation",
    [
        *("PyFunc", "EagerPyFunc", "ReadFile", "WriteFile", "SaveV2", "RestoreV2", "PrintV2"),
        *("TextLineDataset", "TextLineDatasetV2", "SqlDataset", "TFRecordDatasetV2"),
        *("RpcServerStart", "RpcClient", "Send", "InitializeTableFromTextFileV2"),
        *("DataServiceDatasetV4", "MergeV2Checkpoints", "DebugIdentityV2", "AnOperationOf2030"),
    ],
)
def test_any_other_operation_is_refused_by_name(operation):
    with pytest.raises(ModelError, match=rf"mask\.pb carries code: .*{operation}.*--trust"):
        reject_graph(graph_operations(graph("Conv2D", operation)), "mask.pb")


def test_operations_inside_functions_count_and_their_names_do_not():
    inner = ("__inference_call_1", ["Conv2D", "WriteFile"])
    found = graph_operations(graph("__inference_call_1", functions=[inner]))
    assert found == {"Conv2D", "WriteFile"}


def test_a_function_with_the_name_of_an_operation_hides_nothing():
    found = graph_operations(graph("WriteFile", functions=[("WriteFile", ["Conv2D"])]))
    assert "WriteFile" in found
