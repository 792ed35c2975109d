"""The settings of an adaptation beside those of training, checked once."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from zodi.errors import SettingsError

CHOICES = {
    "baseline": (None, "source-only", "augment"),
    "validate": (None, "source", "synthetic"),
    "selection": ("last", "synthetic-val"),
    "norm_statistics": ("synthetic", "both"),
}


@dataclass(frozen=True)
class AdaptSettings:
    """What a segmenter is adapted on, and how its weights are chosen; never by labels of the target domain.

    similarity  weight of the mean cosine similarity of the features of a pair
    baseline    in place of a synthetic image a second view of the source: "source-only", or "augment" by
                `zodi.adapt.distort`; same steps and images per step, no similarity term
    validate    after each epoch score the images that were kept out: "source", or their "synthetic" partners
    holdout     share of the source images that is kept out for it, 0..1, chosen by key
    selection   "last": the weights after the last step; "synthetic-val": those of the epoch that scores best on the
                synthetic partners of the images that were kept out
    norm_statistics  the images that the batch norm statistics of the kept weights are of: "synthetic" ones (of a
                baseline: the second views), for use in the target domain; or "both", as they came in training
    """

    similarity: float = 0.1
    baseline: Literal["source-only", "augment"] | None = None
    validate: Literal["source", "synthetic"] | None = None
    holdout: float = 0.1
    selection: Literal["last", "synthetic-val"] = "last"
    norm_statistics: Literal["synthetic", "both"] = "synthetic"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                allowed = ", ".join(str(choice) for choice in choices if choice is not None)
                raise SettingsError(f"{name} is {getattr(self, name)!r}, allowed are {allowed}")
        if not 0 < self.holdout < 1:
            raise SettingsError(f"holdout is {self.holdout}, allowed is a share between 0 and 1, e.g. 0.1")
        if not 0 <= self.similarity < math.inf:
            raise SettingsError(f"similarity is {self.similarity}, allowed is 0 or more")
        if self.selection == "synthetic-val" and self.validate != "synthetic":
            raise SettingsError("selection synthetic-val needs the scores of validate synthetic: give both")

    def described(self) -> dict[str, Any]:
        """All fields as JSON holds them."""
        return asdict(self)
