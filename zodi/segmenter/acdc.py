"""The archive that the ACDC benchmark server takes: train ids at the image's own size, one PNG for each test image.

The server's rules: results have the size of the input image, 1080x1920; ids are train ids (road = 0); files are called
as the images. No label is read.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from zodi.ahead import map_ahead
from zodi.data import Dataset, read_image
from zodi.errors import DataError, OutputError
from zodi.segmenter.evaluate import EvaluateSettings, predict_image
from zodi.segmenter.model import Model

FOLDER = "labelTrainIds"


@torch.inference_mode()
def write_acdc_zip(
    segmenter: Model,
    dataset: Dataset,
    file: Path,
    settings: EvaluateSettings,
    *,
    workers: int = 2,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Predict every image and write `labelTrainIds/<image name>.png` into a zip file; return how many.

    The file is whole or not there. Raises DataError for a data set that is not ACDC, OutputError where the file cannot
    be written.
    """
    if dataset.name != "acdc":
        raise DataError(f"{dataset.root}: is of layout {dataset.name}, the ACDC archive needs --dataset acdc")
    if len(segmenter.info.classes) != dataset.label_set.num_classes:
        raise DataError(f"{dataset.root}: ACDC has 19 classes, the model has {len(segmenter.info.classes)}")
    names = [sample.image.stem for sample in dataset.samples]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{dataset.root}: two images are called {twice!r}: the server knows each by its name alone")
    temporary = file.with_name(file.name + ".tmp")
    images = map_ahead(lambda s: (s, read_image(s.image)), dataset.samples, workers, 2 * workers)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w") as archive:
            for done, (sample, image) in enumerate(images, 1):
                content = io.BytesIO()
                Image.fromarray(predict_image(segmenter, image, settings)).save(content, "PNG")
                archive.writestr(f"{FOLDER}/{sample.image.stem}.png", content.getvalue())
                if on_progress is not None:
                    on_progress(done, len(dataset.samples), file.name)
        temporary.replace(file)
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror}): check the path and the free space") from None
    finally:
        temporary.unlink(missing_ok=True)
    return len(dataset.samples)
