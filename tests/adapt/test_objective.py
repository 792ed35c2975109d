"""The loss of pairs equals a direct transcription of the method, with its gradients."""

import pytest
import torch
from nets import TINY
from torch.nn import functional

from zodi.adapt.objective import feature_similarity, make_pair_loss
from zodi.segmenter.nets import build_net
from zodi.segmenter.objective import Whole


def close(a, b):
    """Largest difference in units of the larger tensor's largest value."""
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item() < 1e-6


def test_similarity_of_known_features():
    a = torch.zeros(3, 2, 2, 2)
    b = torch.zeros(3, 2, 2, 2)
    a[:, 0], b[0, 0], b[1, 1], b[2, 0] = 1.0, 5.0, 1.0, -2.0
    assert feature_similarity(a, b).tolist() == pytest.approx([1.0, 0.0, -1.0], abs=1e-6)


def test_similarity_and_its_gradient_in_both_branches():
    torch.manual_seed(0)
    f_s, f_t = (torch.randn(4, 6, 3, 5, dtype=torch.float32, requires_grad=True) for _ in range(2))
    value = feature_similarity(f_s, f_t).mean()
    a, b = f_s.mean((2, 3)), f_t.mean((2, 3))
    direct = ((a * b).sum(1) / (a.square().sum(1).sqrt() * b.square().sum(1).sqrt())).mean()
    assert close(value, direct)
    for own, expected in zip(
        torch.autograd.grad(value, [f_s, f_t]), torch.autograd.grad(direct, [f_s, f_t]), strict=True
    ):
        assert expected.abs().max() > 0
        assert close(own, expected)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    labels = torch.randint(0, 19, (3, 32, 64))
    labels[0, :20] = 255
    masked = labels.clone()
    masked[2, :, :30] = 255
    return {
        "image": torch.randn(3, 3, 32, 64),
        "synthetic": torch.randn(3, 3, 32, 64),
        "label": labels,
        "synthetic_label": masked,
    }


def gradients(net):
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_the_step_equals_two_backward_passes_written_out(batch):
    torch.manual_seed(2)
    net = build_net(TINY["architecture"], TINY["encoder"], 19, options=TINY["options"]).net.double().train()
    batch = {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}
    torch.manual_seed(3)  # of dropout
    start = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    logits_s, f_s = net(batch["image"], with_features=True)
    logits_t, f_t = net(batch["synthetic"], with_features=True)
    a, b = f_s.mean((2, 3)), f_t.mean((2, 3))
    cosine = ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean()
    ce_s = functional.cross_entropy(logits_s, batch["label"], ignore_index=255)
    ce_t = functional.cross_entropy(logits_t, batch["synthetic_label"], ignore_index=255)
    (ce_s - 0.1 * cosine).backward(retain_graph=True)
    ce_t.backward()
    expected, statistics = gradients(net), dict(net.named_buffers())
    statistics = {name: tensor.clone() for name, tensor in statistics.items()}

    net.load_state_dict(start)
    net.zero_grad()
    torch.manual_seed(3)
    valid = {name: (batch[name] != 255).sum().float() for name in ("label", "synthetic_label")}
    terms = make_pair_loss(0.1)(net, batch, Whole(valid))
    terms["loss"].backward()
    assert terms["source"].item() == pytest.approx(ce_s.item(), rel=1e-6)
    assert terms["synthetic"].item() == pytest.approx(ce_t.item(), rel=1e-6)
    assert terms["similarity"].item() == pytest.approx(cosine.item(), rel=1e-6)
    found = gradients(net)
    assert found.keys() == expected.keys()
    largest = max(g.abs().max() for g in expected.values())
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-6 * largest, name
    for name, buffer in net.named_buffers():
        assert torch.allclose(buffer.double(), statistics[name].double(), rtol=1e-6), name


def test_separate_passes_give_each_domain_its_own_batch_statistics(batch):
    torch.manual_seed(2)
    net = build_net(TINY["architecture"], TINY["encoder"], 19, options=TINY["options"]).net.train()
    bright = batch | {"synthetic": 10 * batch["synthetic"] + 5}
    valid = {name: (batch[name] != 255).sum().float() for name in ("label", "synthetic_label")}

    def source_loss(pair):
        torch.manual_seed(3)  # of dropout
        return make_pair_loss(0.1)(net, pair, Whole(valid))["source"].item()

    plain, shifted = source_loss(batch), source_loss(bright)
    assert plain == pytest.approx(shifted, rel=1e-5)  # one common pass would have changed it


def test_without_similarity_the_terms_are_still_told(batch):
    torch.manual_seed(2)
    net = build_net(TINY["architecture"], TINY["encoder"], 19, options=TINY["options"]).net.train()
    valid = {name: (batch[name] != 255).sum().float() for name in ("label", "synthetic_label")}
    terms = make_pair_loss(0.0)(net, batch, Whole(valid))
    assert terms["loss"].item() == pytest.approx((terms["source"] + terms["synthetic"]).item(), rel=1e-6)
    assert -1 <= terms["similarity"].item() <= 1
