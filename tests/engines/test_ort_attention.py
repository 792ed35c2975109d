"""Attention as one operator: found in what the exporter writes, equal to PyTorch's, the file untouched."""

from collections import Counter

import onnx
import onnxruntime
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from zodi.engines.bundle import open_bundle
from zodi.engines.ort_attention import fuse_attention
from zodi.engines.ort_session import open_session


class Masked(nn.Module):
    def forward(self, queries, keys):
        return nn.functional.scaled_dot_product_attention(
            queries[:, None], queries[:, None], keys[:, None], keys[:, None]
        )


def write(layer, inputs, path, *, dynamic=False):
    dims = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} if dynamic else {}
    torch.onnx.export(layer, inputs, path, dynamo=True, dynamic_shapes=(dims, dims), input_names=["q", "k"])
    return Counter(node.op_type for node in onnx.load_from_string(fuse_attention(path)).graph.node)


@pytest.mark.parametrize("dynamic", [False, True])
def test_one_operator_computes_what_pytorch_does(tmp_path, dynamic):
    torch.manual_seed(0)
    layer = Attention(query_dim=24, cross_attention_dim=10, heads=3, dim_head=8).eval().requires_grad_(False)
    traced = torch.randn(2, 33, 24), torch.randn(2, 7, 10)
    operators = write(layer, traced, tmp_path / "x.onnx", dynamic=dynamic)
    assert operators["MultiHeadAttention"] == 1 and operators["MatMul"] == 4 and operators["Softmax"] == 0
    for queries, keys in [traced, (torch.randn(3, 600, 24), torch.randn(3, 11, 10))][: 1 + dynamic]:
        session = open_session(tmp_path / "x.onnx", fused=True)
        (found,) = session.run(None, {"q": queries.numpy(), "k": keys.numpy()})
        assert torch.allclose(torch.from_numpy(found), layer(queries, keys), atol=1e-6)


def test_attention_with_a_mask_stays(tmp_path):
    operators = write(Masked().eval(), (torch.randn(2, 7, 16), torch.randn(2, 7, 7)), tmp_path / "x.onnx")
    assert operators["MultiHeadAttention"] == 0 and operators["Softmax"] == 1


def test_a_bundle_s_files_are_read_with_their_weights_and_left_as_they_are(tiny_bundle):
    path = open_bundle(tiny_bundle).path("denoiser")
    before = path.read_bytes()
    softmax = sum(node.op_type == "Softmax" for node in onnx.load(path, load_external_data=False).graph.node)
    session = open_session(path, fused=True)
    nodes = Counter(node.op_type for part in session.get_provider_graph_assignment_info() for node in part.get_nodes())
    assert softmax > 0 and nodes["MultiHeadAttention"] == softmax and nodes["Softmax"] == 0
    assert isinstance(session, onnxruntime.InferenceSession) and path.read_bytes() == before
    open_bundle(tiny_bundle)
