"""Classes as vectors: train a classifier, embed the classes, choose the K farthest apart."""

from genvec.classes.choice import (
    MAX_SUBSETS,
    class_embeddings,
    distance_matrix,
    farthest_classes,
)
from genvec.classes.classifier import (
    CLASSIFIERS,
    OPTIMISERS,
    Classifier,
    Training,
    accuracy,
    classifier_from,
    features,
    mirror_images,
    only_classes,
    predict,
    shift_images,
    train_classifier,
)

__all__ = [
    "CLASSIFIERS",
    "MAX_SUBSETS",
    "OPTIMISERS",
    "Classifier",
    "Training",
    "accuracy",
    "class_embeddings",
    "classifier_from",
    "distance_matrix",
    "farthest_classes",
    "features",
    "mirror_images",
    "only_classes",
    "predict",
    "shift_images",
    "train_classifier",
]
