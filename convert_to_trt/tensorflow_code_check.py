# SPDX-License-Identifier: Apache-2.0
"""Check that the operations of an untrusted TensorFlow graph only compute.

TensorFlow has about 1,900 operations. Many access files, open sockets or call Python, and new
releases add more, so a blocklist would never be complete. This is an allowlist of the operations
that image networks use.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from mask_detector_ros.errors import ModelError

_ARITHMETIC = """
    Abs Acos Acosh Add AddN AddV2 ApproximateEqual Asin Asinh Atan Atan2 Atanh BiasAdd BiasAddV1
    Bucketize Ceil ClipByValue Complex Cos Cosh Cross Cumprod Cumsum Div DivNoNan Einsum Elu Erf
    Erfc Exp Expm1 Floor FloorDiv FloorMod Inv Invert LeakyRelu Lgamma Log Log1p LogSoftmax
    MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Maximum Minimum Mod Mul MulNoNan Neg Pow
    RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin Sinh Softmax Softplus
    Softsign Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlogy
    Igamma NextAfter L2Loss _FusedMatMul _FusedConv2D _FusedBatchNormEx
"""

_COMPARISON = """
    All Any ArgMax ArgMin Equal Greater GreaterEqual IsFinite IsInf IsNan Less LessEqual
    LogicalAnd LogicalNot LogicalOr NotEqual Select SelectV2 Where BitwiseAnd BitwiseOr
    BitwiseXor TopK TopKV2 InTopK InTopKV2
"""

_REDUCTION = """
    EuclideanNorm Max Mean Min Prod Sum UnsortedSegmentSum SegmentSum SegmentMean Bincount
"""

_LAYERS = """
    AvgPool AvgPool3D BatchNormWithGlobalNormalization BatchToSpace BatchToSpaceND Conv Conv2D
    Conv2DBackpropInput Conv3D DepthToSpace DepthwiseConv2dNative Dilation2D ExtractImagePatches
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 LRN MaxPool MaxPoolV2 MaxPoolWithArgmax
    MaxPool3D SpaceToBatch SpaceToBatchND SpaceToDepth Conv3DBackpropInputV2
"""

_IMAGES = """
    AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation CropAndResize HSVToRGB
    ImageProjectiveTransformV2 ImageProjectiveTransformV3 RGBToHSV ResizeArea ResizeBicubic
    ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate
"""

_QUANTISATION = """
    Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
    QuantizeAndDequantizeV4 QuantizeV2
"""

_SHAPES = """
    Bitcast BroadcastArgs BroadcastTo Cast Concat ConcatV2 Const DeepCopy Diag DiagPart
    EnsureShape ExpandDims Fill Gather GatherNd GatherV2 Identity IdentityN LinSpace
    MatrixBandPart MatrixDiag MirrorPad OneHot OnesLike Pack Pad PadV2 ParallelDynamicStitch
    Placeholder PlaceholderWithDefault PreventGradient Range Rank Reshape Reverse ReverseV2 Roll
    ScatterNd Shape ShapeN Size Slice Snapshot Split SplitV Squeeze StopGradient StridedSlice
    TensorScatterUpdate Tile Transpose Unique Unpack ZerosLike DynamicStitch DynamicPartition
    InvertPermutation TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem
    TensorListStack TensorListLength TensorListElementShape EmptyTensorList TensorListPushBack
    TensorListPopBack Empty Copy
"""

_RANDOM = """
    Multinomial RandomStandardNormal RandomUniform RandomUniformInt StatelessRandomGetAlg
    StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormalV2
    StatelessRandomUniform StatelessRandomUniformV2 StatelessRandomUniformFullIntV2
    StatelessRandomUniformIntV2 StatelessTruncatedNormalV2 TruncatedNormal RngReadAndSkip
    StatelessRandomNormal
"""

_CONTROL = """
    Assert Case ControlTrigger Enter Exit If LoopCond Merge NextIteration NoOp PartitionedCall
    RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSwitch StatefulPartitionedCall
    StatelessCase StatelessIf StatelessWhile Switch While SymbolicGradient _Retval _Arg
"""

_VARIABLES = """
    Assign AssignAddVariableOp AssignSubVariableOp AssignVariableOp IsVariableInitialized
    ReadVariableOp ResourceGather VarHandleOp VarIsInitializedOp VariableShape Variable
    VariableV2 _ReadVariablesOp DisableCopyOnRead DestroyResourceOp
"""

COMPUTING = frozenset(
    " ".join(
        (
            *(_ARITHMETIC, _COMPARISON, _REDUCTION, _LAYERS, _IMAGES, _QUANTISATION),
            *(_SHAPES, _RANDOM, _CONTROL, _VARIABLES),
        )
    ).split()
)
"""Operations that compute, and touch nothing but their inputs and the model's own variables."""

RESTORING = COMPUTING | {"RestoreV2", "ShardedFilename", "StringJoin"}
"""Operations that may also run while a SavedModel reads its own weights."""

_RUN_ON_LOADING = ("_create_resource", "_initialize", "_destroy_resource")
"""Functions of an object that `tf.saved_model.load` calls by itself."""

_INITIAL = ("saved_model_main_op", "legacy_init_op", "saved_model_train_op")
"""Collections that name the operations which run on loading a model of TensorFlow 1."""


def reject_graph(operations: Iterable[str], name: str) -> None:
    """Check the code of an untrusted TensorFlow graph: raise ModelError if it has operations that
    do more than compute.

    Raises:
        ModelError: there are some; the message names them.
    """
    found = sorted(set(operations) - COMPUTING)
    if found:
        raise ModelError(
            f"{name} carries code: the operations {', '.join(found[:6])} may access files, the "
            "network or Python; if you trust its author, add --trust"
        )


def graph_operations(graph: Any) -> set[str]:
    """List the operation types of an untrusted TensorFlow GraphDef and its functions, to check its
    code."""
    functions = (node.op for function in graph.library.function for node in function.node_def)
    return {*(node.op for node in graph.node), *functions} - _function_names(graph.library)


def saved_operations(saved: Any) -> set[str]:
    """List the operation types of an untrusted TensorFlow SavedModel that run when it is loaded or
    called, to check its code.

    The file also contains functions that write checkpoints, but nothing here calls them.
    """
    return {operation for meta in saved.meta_graphs for operation in _running(meta)}


def _running(meta: Any) -> set[str]:
    functions = {f.signature.name: f for f in meta.graph_def.library.function}
    roots = {tensor.name for s in meta.signature_def.values() for tensor in s.outputs.values()}
    for collection in _INITIAL:
        if collection in meta.collection_def:
            entry = meta.collection_def[collection]
            roots |= {*entry.node_list.value, *(v.decode() for v in entry.bytes_list.value)}
    found = _reachable(meta.graph_def, roots, functions)
    for function in _called_on_loading(meta.object_graph_def):
        found |= _in_function(function, functions, set())
    restored = _reachable(meta.graph_def, {meta.saver_def.restore_op_name}, functions)
    return (found | (restored - RESTORING)) - _function_names(meta.graph_def.library)


def _called_on_loading(objects: Any) -> Iterator[str]:
    for entry in objects.nodes:
        called = [c.node_id for c in entry.children if c.local_name in _RUN_ON_LOADING]
        called += [s.restore_function for s in entry.saveable_objects.values()]
        for index in called:
            node = objects.nodes[index]
            yield from node.function.concrete_functions
            yield node.bare_concrete_function.concrete_function_name


def _reachable(graph: Any, roots: set[str], functions: dict[str, Any]) -> set[str]:
    """The operations that the nodes `roots` of a graph depend on, including those in called
    functions."""
    nodes = {node.name: node for node in graph.node}
    found: set[str] = set()
    seen: set[str] = set()
    ahead = [root for root in roots if root]
    called: set[str] = set()
    while ahead:
        name = ahead.pop().removeprefix("^").split(":")[0]
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        node = nodes[name]
        found.add(node.op)
        ahead += list(node.input)
        for function in _functions_of(node):
            found |= _in_function(function, functions, called)
    return found


def _in_function(name: str, functions: dict[str, Any], seen: set[str]) -> set[str]:
    found: set[str] = set()
    ahead = [name]
    while ahead:
        name = ahead.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            found.add(node.op)
            ahead += _functions_of(node)
    return found


def _functions_of(node: Any) -> list[str]:
    named = [value.func.name for value in node.attr.values() if value.HasField("func")]
    listed = [f.name for value in node.attr.values() for f in value.list.func]
    # A function may also be called by its name in place of an operation.
    return [*named, *listed, node.op]


def _function_names(library: Any) -> set[str]:
    """Names of functions, which may appear in place of operations.

    Traced Python functions have underscores in their names and operations do not. Only such names
    count, so that a function named like an operation cannot hide it.
    """
    return {f.signature.name for f in library.function if "_" in f.signature.name}
