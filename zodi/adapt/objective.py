"""The loss of a batch of pairs (ZoDi, arXiv 2403.13652, section 3.3): pure functions of logits and features."""

from torch import Tensor, nn
from torch.nn import functional

from zodi.segmenter.loop import Batch, Loss
from zodi.segmenter.objective import Supervised, Whole, cross_entropy


def feature_similarity(source: Tensor, synthetic: Tensor) -> Tensor:
    """Cosine similarity of globally averaged features, (B, C, h, w) each -> (B,) in -1..1, in float32.

    The gradient goes into both.
    """
    return functional.cosine_similarity(source.float().mean(dim=(2, 3)), synthetic.float().mean(dim=(2, 3)), dim=1)


def make_pair_loss(similarity: float, supervised: Supervised = cross_entropy) -> Loss:
    """The supervised loss of source plus that of synthetic images, minus `similarity` times the pairs' mean similarity.

    Source and synthetic images go through the net one after the other, so that batch norm sees each domain alone. The
    terms are "loss", "source", "synthetic" and "similarity".
    """

    def pair_loss(net: nn.Module, batch: Batch, whole: Whole) -> Batch:
        source = net(batch["image"], with_features=True)
        synthetic = net(batch["synthetic"], with_features=True)
        terms = {
            "source": supervised(source.logits, batch["label"], whole.valid["label"]),
            "synthetic": supervised(synthetic.logits, batch["synthetic_label"], whole.valid["synthetic_label"]),
            "similarity": whole.share * feature_similarity(source.features, synthetic.features).mean(),
        }
        return {"loss": terms["source"] + terms["synthetic"] - similarity * terms["similarity"], **terms}

    return pair_loss
