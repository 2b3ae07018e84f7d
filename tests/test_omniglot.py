"""Omniglot as collections, from a tiny TFDS folder of the same features."""

import numpy as np
import pytest
from PIL import Image

from genvec.collections import load_collections

tfds = pytest.importorskip("tensorflow_datasets")

# split → (alphabet, number within it) of every character, by label
CHARACTERS = {"train": [(2, 0), (2, 1), (0, 0)], "test": [(1, 0), (3, 0), (1, 1), (3, 1)]}
ALPHABETS = ("Alpha", "Beta", "Gamma", "Delta")
DRAWINGS = 3


def drawing(label: int, number: int) -> np.ndarray:
    """White paper, the ink tells which it is: [4, 4, 3]."""
    image = np.full((4, 4, 3), 255, np.uint8)
    image[label // 4, label % 4] = 0
    image[3, number] = 0
    return image


class Omniglot(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("3.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 4, 3)),
            "alphabet": tfds.features.ClassLabel(names=ALPHABETS),
            "alphabet_char_id": tfds.features.Scalar(np.int64),
            "label": tfds.features.ClassLabel(num_classes=7),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in CHARACTERS}

    def _generate_examples(self, split):
        first = 0 if split == "train" else len(CHARACTERS["train"])
        for label, (alphabet, character) in enumerate(CHARACTERS[split], first):
            for number in range(DRAWINGS):
                yield (
                    f"{label} {number}",
                    {
                        "image": Image.fromarray(drawing(label, number)),
                        "alphabet": alphabet,
                        "alphabet_char_id": character,
                        "label": label,
                    },
                )


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    Omniglot(data_dir=root, file_format="array_record").download_and_prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENVEC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return load_collections("omniglot", data_dir=root)


@pytest.mark.parametrize("split", CHARACTERS)
def test_a_group_is_a_character_and_its_class_an_alphabet(parts, split):
    part, first = (parts[0], 0) if split == "train" else (parts[1], len(CHARACTERS["train"]))
    truth = CHARACTERS[split]
    assert part.group_names == tuple(f"{ALPHABETS[a]} {number}" for a, number in truth)
    assert [part.class_names[k] for k in part.group_class] == [ALPHABETS[a] for a, _ in truth]
    assert len(part.images) == DRAWINGS * len(truth)
    for j in range(len(truth)):
        drawn = {image.tobytes() for image in part.images[part.group == j]}
        assert drawn == {
            (255 - drawing(first + j, number)[..., :1]).tobytes() for number in range(DRAWINGS)
        }


def test_alphabets_to_evaluate_on_are_others(parts):
    known, unseen = parts
    assert known.class_names == ("Alpha", "Gamma") and unseen.class_names == ("Beta", "Delta")
