"""Data sets on disk: which images and labels there are, paired by key, and how to read them. Knows no torch."""

from zodi.data.dataset import Dataset, Problem, Sample
from zodi.data.images import read_image
from zodi.data.index import open_dataset
from zodi.data.label_files import check_pair, read_label, read_train_ids

__all__ = [
    "Dataset",
    "Problem",
    "Sample",
    "check_pair",
    "open_dataset",
    "read_image",
    "read_label",
    "read_train_ids",
]
