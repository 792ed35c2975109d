"""Measure the street world: class presence, PNG bytes per pixel, night luminance, scenes per second.

python tools/town_stats.py [--scenes 500] [--size 128x256] [--domain clear]
"""

import argparse
import io
import time

import numpy as np
from PIL import Image

from zodi.labels import CITYSCAPES_19
from zodi.town import DOMAINS, render

BLOCK = 20  # scenes that are timed together


def main() -> None:
    """Print the figures that docs/town.md states."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--size", default="128x256", help="HxW")
    parser.add_argument("--domain", choices=DOMAINS, default="clear")
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    render(0, options.domain, (height, width))

    present = np.zeros(19, dtype=np.int64)
    clearly = np.zeros(19, dtype=np.int64)
    pixels = np.zeros(19, dtype=np.int64)
    stored, seconds, blocks = 0, 0.0, []
    for start in range(0, options.scenes, BLOCK):
        began = time.process_time()
        scenes = [
            render(seed, options.domain, (height, width)) for seed in range(start, min(start + BLOCK, options.scenes))
        ]
        spent = time.process_time() - began
        blocks.append(len(scenes) / spent)
        seconds += spent
        for image, label in scenes:
            counts = np.bincount(label.ravel(), minlength=19)
            present += counts > 0
            clearly += counts >= 30
            pixels += counts
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            stored += file.tell()
    print(f"{options.scenes} scenes, {options.domain}, {height}x{width}")
    print(f"{'class':15s} {'in scenes':>9s} {'>= 30 px':>9s} {'pixels':>8s}")
    for index, name in enumerate(CITYSCAPES_19.names):
        shares = present[index] / options.scenes, clearly[index] / options.scenes, pixels[index] / pixels.sum()
        print(f"{name:15s} {shares[0]:9.1%} {shares[1]:9.1%} {shares[2]:8.2%}")
    print(f"PNG bytes per pixel: {stored / (options.scenes * height * width):.2f}")
    average, best = options.scenes / seconds, max(blocks)
    print(f"scenes per second of processor time: {average:.1f} on average, {best:.1f} in the best {BLOCK}")


if __name__ == "__main__":
    main()
