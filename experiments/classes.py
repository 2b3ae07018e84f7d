"""Stage 1: choose the K classes, and train the classifier of images that later stages use.

`config.classifiers.chooser` learns all classes of the data set, `counter` those chosen; without a
`counter` the chooser counts.
"""

import jax
import numpy as np

from experiments.common import bar, clock, stream
from experiments.done import is_done
from experiments.environment import environment
from experiments.setup import check, chosen_classes, unseen_classes
from experiments.start import main
from experiments.unfinished import Unfinished
from genvec.classes import (
    CLASSIFIERS,
    Classifier,
    accuracy,
    class_embeddings,
    classifier_from,
    distance_matrix,
    farthest_classes,
    only_classes,
    predict,
    train_classifier,
)
from genvec.keys import fold_in_name
from genvec.mixtures import group_by_class
from genvec.store import (
    discard_tree,
    load_tree,
    read_json,
    save_tree,
    write_json,
)

# their places in a sorted table once; the classifiers that they drew stay as they are
NETWORK_NUMBERS = {"mlp": 0, "resnet": 1}


def run_stage(config, run) -> None:
    if _is_done(config, run):
        return
    dataset = check(config).dataset
    with clock(run, "classes"):
        indices, distances, reached = chosen_classes(config, dataset), None, {}
        if indices is None or "counter" not in config.classifiers:
            chooser, reached["chooser"] = _trained(config, "chooser", run, dataset)
        if indices is None:
            logits = predict(chooser, dataset.images)
            embeddings = class_embeddings(logits, dataset.labels, len(dataset.class_names))
            distances = distance_matrix(embeddings)
            indices = farthest_classes(distances, config.classes.num)
        if "counter" in config.classifiers:
            unseen = unseen_classes(config)
            seen = [i for i in indices if dataset.class_names[i] not in unseen]
            _, reached["counter"] = _trained(config, "counter", run, _only(dataset, seen))
        write_json(
            run.classes,
            {
                "chosen_by": "auto" if distances is not None else "explicit",
                "classes": [dataset.class_names[index] for index in indices],
                "indices": indices,
                "class_names": dataset.class_names,
                "distances": distances,
                "classifier_accuracy": reached,
                "environment": environment(),
            },
        )


def _is_done(config, run) -> bool:
    """Whether the classes are chosen and the classifiers there that later stages load."""
    role = "counter" if "counter" in config.classifiers else "chooser"
    chosen = is_done(run, run.classes, complete=lambda found: "classes" in found)
    return chosen and is_done(run, run.classifiers / role, load_tree)


def _trained(config, role, run, dataset):
    """A classifier, trained unless it is on disk, and its accuracy on held-out images."""
    if not is_done(run, run.classifiers / role, load_tree):
        _train(config, role, run, dataset)
    classifier = _load(config, role, run, len(dataset.class_names))
    logits = predict(classifier, dataset.heldout_images)
    return classifier, accuracy(logits, dataset.heldout_labels)


def _train(config, role, run, dataset):
    entry = config.classifiers[role]
    network = CLASSIFIERS[entry.network](len(dataset.class_names), **entry.args)
    with bar(entry.train.num_steps, f"classifier {role}", "step") as progress:
        unfinished = Unfinished(run, run.classifiers / f"{role}_unfinished", progress)
        classifier = train_classifier(
            fold_in_name(stream(config, "classes"), entry.network, NETWORK_NUMBERS),
            dataset.images,
            dataset.labels,
            network=network,
            resume=unfinished.resume,
            on_step=unfinished.on_step,
            **entry.train,
        )
    save_tree(run.classifiers / role, classifier.variables)
    discard_tree(unfinished.path)


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


def load_counter(config, run) -> Classifier:
    """The classifier of the chosen classes, without those held out, from disk."""
    known = read_json(run.classes)
    if "counter" in config.classifiers:
        num_classes = len(known["classes"]) - len(unseen_classes(config))
        return _load(config, "counter", run, num_classes)
    chooser = _load(config, "chooser", run, len(known["class_names"]))
    return only_classes(chooser, known["indices"])


def _load(config, role, run, num_classes):
    entry = config.classifiers[role]
    network = CLASSIFIERS[entry.network](num_classes, **entry.args)
    return classifier_from(network, load_tree(run.classifiers / role))


if __name__ == "__main__":
    main(run_stage)
