"""Stage 1: choose the K classes, and train the classifiers of images that later stages use."""

import jax
import numpy as np

from experiments.common import bar, check, chosen_classes, clock, main, stream
from genvec.classes import (
    CLASSIFIERS,
    Classifier,
    accuracy,
    class_embeddings,
    classifier_from,
    distance_matrix,
    farthest_classes,
    predict,
    train_classifier,
)
from genvec.mixtures import group_by_class
from genvec.store import load_tree, save_tree, write_json


def run_stage(config, run) -> None:
    if run.classes.exists():
        return
    dataset = check(config).dataset
    with clock(run, "classes"):
        indices, distances, reached = chosen_classes(config, dataset), None, {}
        if indices is None:
            resnet, reached["resnet"] = _train(config, "resnet", run, dataset)
            logits = predict(resnet, dataset.images)
            embeddings = class_embeddings(logits, dataset.labels, len(dataset.class_names))
            distances = distance_matrix(embeddings)
            indices = farthest_classes(distances, config.classes.num)
        _, reached["mlp"] = _train(config, "mlp", run, _only(dataset, indices))
        write_json(
            run.classes,
            {
                "chosen_by": "auto" if distances is not None else "explicit",
                "classes": [dataset.class_names[index] for index in indices],
                "indices": indices,
                "class_names": dataset.class_names,
                "distances": distances,
                "classifier_accuracy": reached,
            },
        )


def _train(config, name, run, dataset):
    """A trained classifier and its accuracy on held-out images."""
    args = config.classifiers[name]
    network = CLASSIFIERS[name](len(dataset.class_names), **args.args)
    with bar(args.num_steps, f"classifier {name}", "step") as progress:
        classifier = train_classifier(
            jax.random.fold_in(stream(config, "classes"), sorted(CLASSIFIERS).index(name)),
            dataset.images,
            dataset.labels,
            network=network,
            num_steps=args.num_steps,
            on_step=lambda *_: progress.update(),
        )
    save_tree(run.classifiers / name, classifier.variables)
    logits = predict(classifier, dataset.heldout_images)
    return classifier, accuracy(logits, dataset.heldout_labels)


def _only(dataset, indices):
    """The data set with no classes but these, in this order."""
    data = jax.device_get(group_by_class(dataset, indices))
    return dataset._replace(
        class_names=tuple(dataset.class_names[index] for index in indices),
        images=data.images,
        labels=np.repeat(np.arange(len(indices), dtype=np.int32), data.counts),
        heldout_images=data.heldout_images,
        heldout_labels=data.heldout_labels,
    )


def load_classifier(config, run, name: str, num_classes: int) -> Classifier:
    """A classifier of the run, from disk."""
    network = CLASSIFIERS[name](num_classes, **config.classifiers[name].args)
    return classifier_from(network, load_tree(run.classifiers / name))


if __name__ == "__main__":
    main(run_stage)
