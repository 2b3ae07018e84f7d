"""A TFDS set of a few images, each of one gray that tells its number."""

import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from benchmarks.faults.caches import NAMES


class GraySet(tfds.core.GeneratorBasedBuilder):
    """4 × 4 images of the gray 10 · number, with the labels that it is made with."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, labels, **kwargs):
        self.labels = labels
        super().__init__(**kwargs)

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 4, 1)),
            "label": tfds.features.ClassLabel(names=NAMES),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.labels}

    def _generate_examples(self, split):
        for number, label in enumerate(self.labels[split]):
            image = np.full((4, 4), 10 * number, np.uint8)
            yield number, {"image": Image.fromarray(image), "label": label}


def build(folder: Path, labels: dict[str, list[int]]) -> None:
    """Writes the set as array_record."""
    with open(os.devnull, "w") as quiet, redirect_stdout(quiet), redirect_stderr(quiet):
        GraySet(data_dir=folder, file_format="array_record", labels=labels).download_and_prepare()
