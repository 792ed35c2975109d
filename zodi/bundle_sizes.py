"""Images of a data set and the sizes of a bundle: whether it takes them, and which one would."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from zodi.data import Dataset
from zodi.data.sizes import Size
from zodi.engines.bundle import Bundle
from zodi.engines.profile import Range, Sizes, make_sizes, size_text
from zodi.errors import DataError, SettingsError
from zodi.model import ModelInfo
from zodi.transfer.images import working_size

Images = Mapping[Size, int]  # how many images have which (height, width), before they are brought to a working size
SHOWN = 3  # sizes in a message


def check_images(
    bundle: Bundle, images: Images, image_size: int | None, *, allowed: int, data: str, notify: Callable[[str], None]
) -> None:
    """Compare a data set with what the bundle takes, before anything is transferred.

    images   how many have which (height, width)
    allowed  so many may be outside, and will be failed rows, which `notify` is told
    data     options that name the data set, for the command that helps

    Raises SettingsError where more are, or all.
    """
    sizes = working_sizes(images, bundle.info, image_size)
    wrong = {size: count for size, count in images.items() if not bundle.sizes.take(sizes[size])}
    if not wrong:
        return
    takes = " to ".join(dict.fromkeys(size_text((bundle.sizes.height[end], bundle.sizes.width[end])) for end in (0, 2)))
    side = [f"--image-size {image_size}"] if image_size else []
    message = (
        f"{bundle.directory}: takes images of {takes} (height x width), but {sum(wrong.values())} of "
        f"{sum(images.values())} do not fit: {describe_images(wrong, sizes)}: export for these images with "
        f"{bundle.rebuild_with(data, *side, bundle.sizes.options[1])}"
    )
    if sum(wrong.values()) > allowed or len(wrong) == len(images):
        raise SettingsError(message)
    notify(f"{message}; until then they fail")


def sizes_for_images(
    images: Images, info: ModelInfo, image_size: int | None, batch: Range, *, static: bool | None
) -> Sizes:
    """The sizes of a bundle that takes all of the images, and suits the most frequent working size best.

    static  None: where all become one size

    Raises DataError without images, SettingsError where a static bundle cannot take all of them.
    """
    if not images:
        raise DataError("no image of the data set can be read: see `zodi data check`")
    sizes = working_sizes(images, info, image_size)
    counts: Counter[Size] = Counter()
    for size, count in images.items():
        counts[sizes[size]] += count
    usual = counts.most_common(1)[0][0]
    if len(counts) == 1 and static is not False:
        return make_sizes(usual, batch, static=True, dims=info.dims)
    if static:
        raise SettingsError(
            f"--static: a static bundle takes one size, the images become {len(counts)}: "
            f"{describe_images(images, sizes)}: leave it out"
        )
    if static is False:
        smallest, largest = info.dims.multiple, 2 * max(usual)
        counts.update([(smallest, smallest), (largest, largest)])
    heights, widths = zip(*counts, strict=True)
    return Sizes(batch, (min(heights), usual[0], max(heights)), (min(widths), usual[1], max(widths)))


def describe_images(images: Images, sizes: Mapping[Size, Size]) -> str:
    """The most frequent sizes with their working sizes, for messages."""
    most = sorted(images.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} of {size_text(size)}, transferred at {size_text(sizes[size])}" for size, count in most[:SHOWN]]
    return "; ".join([*shown, *([f"{len(most) - SHOWN} more sizes"] if len(most) > SHOWN else [])])


def working_sizes(images: Iterable[Size], info: ModelInfo, image_size: int | None) -> dict[Size, Size]:
    """The (height, width) at which images of each size are transferred; SettingsError for a wrong image size."""
    side = image_size or info.image_size
    return {size: working_size(*size, image_size=side, multiple=info.dims.multiple) for size in images}


def dataset_options(dataset: Dataset) -> str:
    """The options that name a data set on the command line."""
    given = {"split": dataset.split, "condition": dataset.condition}
    named = {"dataset": dataset.name, "root": str(dataset.root)} | {k: v for k, v in given.items() if v is not None}
    return " ".join(f"--{option} {shlex.quote(value)}" for option, value in named.items())
