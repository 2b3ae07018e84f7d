"""Stage 1: choose the K classes, and train the classifier of images that later stages use."""

import time

import jax
import numpy as np

from experiments.common import bar, clock, stream
from experiments.setup import check, chosen_classes, unseen_classes
from experiments.start import main
from genvec.classes import (
    CLASSIFIERS,
    Classifier,
    Training,
    accuracy,
    class_embeddings,
    classifier_from,
    distance_matrix,
    farthest_classes,
    predict,
    train_classifier,
)
from genvec.mixtures import group_by_class
from genvec.store import (
    discard_tree,
    load_tree,
    read_json,
    record_path,
    save_tree,
    write_json,
)

SAVE_EVERY = 60.0  # seconds of training that an interruption can cost


def run_stage(config, run) -> None:
    if run.classes.exists():
        return
    dataset = check(config).dataset
    with clock(run, "classes"):
        indices, distances, reached = chosen_classes(config, dataset), None, {}
        if indices is None:
            chooser, reached["chooser"] = _train(config, "chooser", run, dataset)
            logits = predict(chooser, dataset.images)
            embeddings = class_embeddings(logits, dataset.labels, len(dataset.class_names))
            distances = distance_matrix(embeddings)
            indices = farthest_classes(distances, config.classes.num)
        unseen = unseen_classes(config)
        seen = [i for i in indices if dataset.class_names[i] not in unseen]
        _, reached["counter"] = _train(config, "counter", run, _only(dataset, seen))
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


def _train(config, role, run, dataset):
    """A trained classifier and its accuracy on held-out images."""
    entry = config.classifiers[role]
    network = CLASSIFIERS[entry.network](len(dataset.class_names), **entry.args)
    with bar(entry.train.num_steps, f"classifier {role}", "step") as progress:
        unfinished = _Unfinished(run.classifiers / f"{role}_unfinished", progress)
        classifier = train_classifier(
            jax.random.fold_in(stream(config, "classes"), sorted(CLASSIFIERS).index(entry.network)),
            dataset.images,
            dataset.labels,
            network=network,
            resume=unfinished.resume,
            on_step=unfinished.on_step,
            **entry.train,
        )
    save_tree(run.classifiers / role, classifier.variables)
    discard_tree(unfinished.path)
    logits = predict(classifier, dataset.heldout_images)
    return classifier, accuracy(logits, dataset.heldout_labels)


class _Unfinished:
    """A classifier in training, on disk now and then, and on the bar."""

    def __init__(self, path, progress):
        self.path, self.progress, self.saved = path, progress, time.monotonic()

    def resume(self, start: Training) -> Training:
        if not record_path(self.path).exists():
            return start
        leaves = [leaf for _, leaf in sorted(load_tree(self.path).items())]
        training = jax.tree.unflatten(jax.tree.structure(start), leaves)
        self.progress.update(int(training.step))
        return training._replace(step=int(training.step))

    def on_step(self, training: Training, loss: jax.Array) -> None:
        self.progress.update()
        if training.step % 20 == 0:  # reading the loss waits for the update
            self.progress.set_postfix({"loss": f"{loss:.3f}"})
        if time.monotonic() - self.saved > SAVE_EVERY:
            leaves = enumerate(jax.tree.leaves(training))
            save_tree(self.path, {f"{number:05d}": leaf for number, leaf in leaves})
            self.saved = time.monotonic()


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
    entry = config.classifiers.counter
    num_classes = len(read_json(run.classes)["classes"]) - len(unseen_classes(config))
    network = CLASSIFIERS[entry.network](num_classes, **entry.args)
    return classifier_from(network, load_tree(run.classifiers / "counter"))


if __name__ == "__main__":
    main(run_stage)
