"""Attention in one operator of ONNX Runtime, which never has all scores in memory; the files stay as they are."""

from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter import MatchResult, rewrite
from onnxscript.rewriter.pattern import RewriteRuleClassBase


def fuse_attention(path: Path) -> bytes:
    """An ONNX file with each attention without a mask as `com.microsoft.MultiHeadAttention`, weights left in place.

    At 4,096 places and 8 heads the scores of one image are 0.5 GiB, which the file's own operators write and read
    three times. The result differs in the last bits only.
    """
    model = ir.load(path)
    rewrite(model, pattern_rewrite_rules=[_MultiHeadAttention.rule(remove_nodes=False)])  # shapes may be read elsewhere
    RemoveUnusedNodesPass()(model)
    serialized: bytes = ir.to_proto(model).SerializeToString()
    return serialized


class _MultiHeadAttention(RewriteRuleClassBase):  # type: ignore[misc]
    """Scaled dot-product attention as `torch.onnx.export` writes it, between rows of all heads side by side."""

    def pattern(
        self, op: Any, query: Any, key: Any, value: Any, root: Any, heads: Any, shape_1: Any, shape_2: Any,
        shape_3: Any, shape_4: Any, shape_5: Any,
    ) -> Any:  # fmt: skip
        q = op.Transpose(op.Reshape(query, heads), perm=[0, 2, 1, 3])
        k = op.Transpose(op.Reshape(key, shape_1), perm=[0, 2, 1, 3])
        k = op.Reshape(op.Transpose(op.Reshape(k, shape_2), perm=[0, 2, 1]), shape_3)
        v = op.Transpose(op.Reshape(value, shape_4), perm=[0, 2, 1, 3])
        weights = op.Softmax(op.MatMul(op.Mul(q, root), op.Mul(k, root)), axis=-1)
        return op.Reshape(op.Transpose(op.MatMul(weights, v), perm=[0, 2, 1, 3]), shape_5)

    def check(self, context: Any, heads: ir.Value, root: ir.Value, **_: Any) -> MatchResult:
        result = MatchResult()
        if not _head_count(heads) or not _numbers(root):
            result.fail("the number of heads or the scale is not a constant")
        return result

    def rewrite(self, op: Any, query: Any, key: Any, value: Any, heads: ir.Value, root: ir.Value, **_: Any) -> Any:
        scale = _numbers(root)[0] ** 2  # the root is multiplied to queries and to keys
        return op.MultiHeadAttention(
            query, key, value, num_heads=_head_count(heads), scale=scale, _domain="com.microsoft"
        )


def _head_count(shape: ir.Value) -> int:
    """The third number of a shape (B, N, heads, width), a constant or joined from four numbers; 0 if it is unknown."""
    joined = shape.producer()
    if joined is not None and joined.op_type == "Concat" and len(joined.inputs) == 4:
        third = _numbers(joined.inputs[2])
    else:
        third = _numbers(shape)[2:3]
    return int(third[0]) if third else 0


def _numbers(value: ir.Value | None) -> list[float]:
    """What a constant holds; nothing for what is computed."""
    constant = get_const_tensor(value) if value is not None else None
    return [] if constant is None else list(constant.numpy().ravel().tolist())
