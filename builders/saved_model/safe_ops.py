"""Which TensorFlow ops compute and do nothing else. Pure: no TensorFlow.

An op that is not named here is refused. That an op is stateless says nothing: `ReadFile` and `ImmutableConst` are, and
read any file; `Empty` returns uninitialised memory; `DebugIdentity` writes to a file or a socket.
"""

from typing import Any

from builders.errors import BuildError

_ARRAYS = """
    BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo Cast Concat ConcatOffset
    ConcatV2 Const DataFormatDimMap DataFormatVecPermute DepthToSpace Diag DiagPart DynamicPartition DynamicStitch
    EnsureShape ExpandDims ExtractImagePatches Fill Gather GatherNd GatherV2 GuaranteeConst Identity IdentityN
    InvertPermutation LinSpace ListDiff LowerBound MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2
    MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad MirrorPadGrad
    OneHot OnesLike Pack Pad PadV2 ParallelDynamicStitch Placeholder PlaceholderV2 PlaceholderWithDefault
    PreventGradient Range Rank Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd Shape ShapeN Size Slice Snapshot
    SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Squeeze StopGradient StridedSlice StridedSliceGrad
    TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate
    Tile Transpose Unique UniqueV2 UniqueWithCounts Unpack UnravelIndex UpperBound Where ZerosLike
"""
_MATHS = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BesselI0 BesselI0e BesselI1 BesselI1e Betainc Bincount BitwiseAnd BitwiseOr
    BitwiseXor Bucketize Ceil Cholesky ClipByValue Complex ComplexAbs Conj ConjugateTranspose Cos Cosh Cross Cumprod
    Cumsum CumulativeLogsumexp DenseBincount Digamma Div DivNoNan Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expint
    Expm1 FFT FFT2D FFT3D Floor FloorDiv FloorMod Greater GreaterEqual IFFT IFFT2D IFFT3D Igamma Igammac Imag Inv Invert
    InvGrad IRFFT IRFFT2D IRFFT3D IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma Log Log1p LogicalAnd LogicalNot
    LogicalOr LogMatrixDeterminant MatMul MatrixDeterminant MatrixInverse MatrixSolve MatrixTriangularSolve Max Maximum
    Mean Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual Polygamma PopulationCount Pow Prod Qr RandomShuffle
    RandomStandardNormal RandomUniform RandomUniformInt Real RealDiv Reciprocal ReciprocalGrad RFFT RFFT2D RFFT3D
    RightShift Rint Round Rsqrt RsqrtGrad SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Select SelectV2
    SelfAdjointEigV2 Sigmoid SigmoidGrad Sign Sin Sinh SparseMatMul SparseTensorDenseMatMul Sqrt SqrtGrad Square
    SquaredDifference StatelessMultinomial StatelessRandomGetAlg StatelessRandomGetKeyCounter
    StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform
    StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormal
    StatelessTruncatedNormalV2 Sub Sum Svd Tan Tanh TanhGrad TruncateDiv TruncatedNormal TruncateMod UnsortedSegmentMax
    UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
"""
_NETWORKS = """
    AdjustContrastv2 AdjustHue AdjustSaturation AvgPool AvgPool3D AvgPool3DGrad AvgPoolGrad BiasAdd BiasAddGrad
    BiasAddV1 CombinedNonMaxSuppression Conv Conv2D Conv2DBackpropFilter Conv2DBackpropFilterV2 Conv2DBackpropInput
    Conv2DBackpropInputV2 Conv3D Conv3DBackpropFilterV2 Conv3DBackpropInputV2 CropAndResize DepthwiseConv2dNative
    DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput Dequantize Dilation2D Elu EluGrad
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient
    FakeQuantWithMinMaxVarsPerChannel FakeQuantWithMinMaxVarsPerChannelGradient FusedBatchNorm FusedBatchNormGrad
    FusedBatchNormGradV2 FusedBatchNormGradV3 FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D HSVToRGB
    ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopKV2 L2Loss LeakyRelu LeakyReluGrad LogSoftmax LRN LRNGrad
    MaxPool MaxPool3D MaxPool3DGrad MaxPoolGrad MaxPoolGradV2 MaxPoolV2 MaxPoolWithArgmax NonMaxSuppressionV2
    NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NthElement QuantizeAndDequantizeV2
    QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeAndDequantizeV4Grad QuantizeV2 Relu Relu6 Relu6Grad ReluGrad
    ResizeArea ResizeBicubic ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor
    ResizeNearestNeighborGrad RGBToHSV ScaleAndTranslate ScaleAndTranslateGrad Selu SeluGrad Softmax
    SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign SoftsignGrad SparseSoftmaxCrossEntropyWithLogits TopK
    TopKV2
"""
_FLOW = """
    Assert Case CheckNumerics ControlTrigger EmptyTensorList Enter Exit FakeParam If LoopCond Merge NextIteration NoOp
    PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch TensorListConcatV2
    TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack
    TensorListPushBack TensorListReserve TensorListResize TensorListSetItem TensorListSplit TensorListStack While
"""
COMPUTING_OPS = frozenset(" ".join((_ARRAYS, _MATHS, _NETWORKS, _FLOW)).split())

# Read and change the variables that a function gets. An op that makes a handle reaches any variable by its name.
VARIABLE_OPS = frozenset(
    """
    AssignAddVariableOp AssignSubVariableOp AssignVariableOp DisableCopyOnRead ReadVariableOp ResourceApplyAdam
    ResourceApplyGradientDescent ResourceApplyKerasMomentum ResourceApplyMomentum ResourceApplyRMSProp ResourceGather
    ResourceGatherNd ResourceScatterAdd ResourceScatterUpdate RngReadAndSkip StatefulStandardNormalV2
    StatefulTruncatedNormal StatefulUniform StatefulUniformInt VarIsInitializedOp VariableShape
    """.split()
)
# Write and read the weights of a SavedModel. They belong to its saver, which TensorFlow never runs when it loads.
SAVER_OPS = frozenset(
    "MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin VarHandleOp".split()
)


def require_safe(meta: Any, title: str) -> None:
    """Refuse a SavedModel, as its `MetaGraphDef`, that does more than compute."""
    require_computing(meta.graph_def, title, "Load it with --trust (trust=True)", _saver_functions(meta))


def require_computing(graph: Any, title: str, remedy: str, saver: frozenset[str] | None = None) -> None:
    """Refuse a `GraphDef` with ops that are not allowed: it names them and the function that holds them.

    The graph of a SavedModel reads variables as well; `saver` names the functions that nothing but its saver calls.
    """
    allowed = COMPUTING_OPS if saver is None else COMPUTING_OPS | VARIABLE_OPS
    parts = [("its main graph", graph.node, saver is not None)]
    for function in graph.library.function:
        name = function.signature.name
        parts.append((name, function.node_def, name in (saver or ())))
    found = []
    for where, nodes, saves in parts:
        ops = dict.fromkeys(node.op for node in nodes)
        found += [f"{op} in {where}" for op in ops if op not in allowed and not (saves and op in SAVER_OPS)]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise BuildError(
            f"Expected {title} to hold computing ops only. Received: {', '.join(found[:3])}{more}. {remedy} if you "
            "trust its author."
        )


def _saver_functions(meta: Any) -> frozenset[str]:
    """The functions that save and restore the weights, if nothing but the saver refers to them.

    A reference needs the function's name. If it occurs only where the function is defined and where the saver calls it,
    nothing else can run it, except in the place of another function (`api_implements`).
    """
    saver = {meta.saver_def.save_tensor_name.partition(":")[0], meta.saver_def.restore_op_name.partition(":")[0]}
    called = [node.attr["f"].func.name for node in meta.graph_def.node if node.name in saver and "f" in node.attr]
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    content = meta.SerializeToString()
    return frozenset(
        name
        for name in called
        if name in functions and content.count(name.encode()) == 2 and "api_implements" not in functions[name].attr
    )
