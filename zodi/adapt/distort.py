"""What the baseline "augment" does to an image in place of diffusion: classical transforms, named and fixed.

Their names are those of albumentations, which does the work; strengths are its defaults except where stated.
"""

from typing import Any

import numpy as np

from zodi.segmenter.images import Pixels

# one of these, drawn for each image: (name in albumentations, arguments)
DISTORTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("RandomGamma", {"gamma_limit": (150, 300)}),  # darker: gamma 1.5 to 3
    ("RandomFog", {}),
    ("RandomRain", {}),
    ("RandomSnow", {}),
    ("GaussNoise", {}),
    ("GaussianBlur", {}),
)


def distort(rng: np.random.Generator, image: Pixels) -> Pixels:
    """One of `DISTORTIONS`, (H, W, 3) to the same; the same generator gives the same image."""
    import albumentations

    name, arguments = DISTORTIONS[int(rng.integers(len(DISTORTIONS)))]
    transform = albumentations.Compose(
        [getattr(albumentations, name)(**arguments, p=1.0)], seed=int(rng.integers(2**31))
    )
    distorted: Pixels = transform(image=np.ascontiguousarray(image))["image"]
    return distorted
