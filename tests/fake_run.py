"""A small believable run folder, as if every stage had run; for tests of what reads runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from genvec import store

CURVE_POINTS = 32


def write_fake_run(
    path: Path,
    *,
    class_names: Sequence[str] = ("0", "2", "4"),
    channels: int = 1,
    size: int = 8,
    num_members: int = 240,
    num_triplets: int = 30,
    num_samples: int = 8,
    error: float = 0.03,
    seed: int = 0,
) -> store.RunFolder:
    """Writes what a finished run of K = `len(class_names)` classes holds, without Orbax folders.

    Args:
      path: of the run folder.
      class_names: of the zoo's classes; the data set gets others beside them, ten in all.
      channels: 1 or 3.
      size: H = W, a multiple of 8.
      num_members: before the triplets' thirds; 70 % train, 10 % val, 20 % test.
      error: standard deviation of the best encoder's error in proportions.
    """
    generator = np.random.default_rng(seed)
    run = store.RunFolder(path)
    members = _members(generator, class_names, num_members, num_triplets)
    mixtures = members[[f"mixture_{name}" for name in class_names]].to_numpy()
    encoders = {"flat/mlp/mse": 3 * error, "graph/graph/n_pair": error}

    store.write_json(run.config, {"seed": seed, "data": {"name": "digits"}, "zoo": {"steps": 600}})
    store.write_json(run.classes, _classes(generator, class_names))
    store.create_zoo(run.zoo, ["vae"])
    manifest = {
        "family": "vae",
        "init": "independent",
        "classes": list(class_names),
        "segment_size": 64,
        "versions": {"jax": "0.10.2"},
    }
    store.create_cell(run.zoo / "vae", manifest, members)
    metrics = {}
    for name, spread in encoders.items():
        metrics[name] = _encoder(generator, run, name, spread, members, mixtures)
    test = np.flatnonzero(members["split"] == "test")
    images = _images(generator, mixtures[test], num_samples, channels, size)
    store.write_arrays(run.samples, {"member": test, "images": images})
    store.write_json(run.metrics, _metrics(class_names, members, metrics))
    return run


def _members(generator, class_names, num_members: int, num_triplets: int) -> pd.DataFrame:
    mixtures = generator.dirichlet(np.full(len(class_names), 0.7), num_members)
    num_val, num_test = num_members // 10, num_members // 5
    split = np.repeat(
        ["train", "val", "test"], [num_members - num_val - num_test, num_val, num_test]
    )
    generator.shuffle(split)
    triplet = np.full(num_members, -1)
    parts = np.flatnonzero(split == "test")[: 2 * min(num_triplets, num_test // 2)].reshape(-1, 2)
    triplet[parts] = np.arange(len(parts))[:, None]
    mixtures = np.concatenate([mixtures, mixtures[parts].mean(axis=1)])
    split = np.concatenate([split, ["sum"] * len(parts)])
    triplet = np.concatenate([triplet, np.arange(len(parts))])

    num = len(split)
    start = 24 + 4 * generator.random((num, 1))
    decay = np.exp(-np.linspace(0, 6, CURVE_POINTS))
    curves = start * decay + 17 + 2 * mixtures[:, :1] + 0.2 * generator.normal(size=(num, 32))
    finite = np.ones(num, bool)
    finite[np.flatnonzero(split == "train")[0]] = False
    curves[~finite] = np.nan
    return pd.DataFrame(
        {
            "member": np.arange(num),
            "split": split,
            "triplet": triplet,
            **{f"mixture_{name}": mixtures[:, k] for k, name in enumerate(class_names)},
            "learning_rate": 10 ** generator.uniform(-3, -2, num),
            "elbo": -curves[:, -1],
            "reconstruction": 0.7 * curves[:, -1],
            "vae_loss": curves[:, -1],
            "vae_loss_curve": list(curves),
            "finite": finite,
        }
    )


def _classes(generator, class_names) -> dict:
    """Ten classes of which the chosen ones lie farther apart."""
    digits = (str(digit) for digit in range(10))
    others = (name for name in digits if name not in class_names)
    names = [*class_names, *others][:10]
    names = sorted(names, key=lambda name: (len(name), name))
    indices = [names.index(name) for name in class_names]
    points = 6 * generator.normal(size=(10, 8))
    points[indices] *= 1.8
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    return {
        "chosen_by": "auto",
        "classes": list(class_names),
        "indices": indices,
        "class_names": names,
        "distances": distances.round(3).tolist(),
        "classifier_accuracy": {"resnet": 0.983, "mlp": 0.969},
    }


def _encoder(generator, run, name, spread, members, mixtures) -> dict[str, float]:
    noise = spread * generator.normal(size=mixtures.shape) * np.sqrt(mixtures + 0.02) * 2
    proportions = np.clip(mixtures + noise, 1e-4, None)
    embeddings = proportions / np.linalg.norm(proportions, axis=1, keepdims=True)
    columns = {f"embedding_{k}": column for k, column in enumerate(embeddings.T)}
    table = pd.DataFrame({"member": members["member"], "split": members["split"], **columns})
    steps = np.arange(0, 2001, 100)
    train = 33 * np.exp(-steps / 250) + 100 * spread * 0.6
    log = pd.DataFrame({"step": steps, "loss": train / 10, "train_angle_deg": train})
    log["val_angle_deg"] = train + 100 * spread * (0.2 + steps / 8000)

    folder = run.encoder(name)
    store.write_table(folder / "embeddings.parquet", table)
    store.write_jsonl(folder / "log.jsonl", log.to_dict("records"))
    metrics = fake_metrics(100 * spread) | {
        "angle_deg_std": spread,
        "train_angle_deg_mean": float(train[-1]),
        "val_angle_deg_mean": float(log["val_angle_deg"].iloc[-1]),
    }
    store.write_json(folder / "metrics.json", metrics)
    return metrics


def fake_metrics(angle_deg: float) -> dict[str, float]:
    """METRICS of an encoder that is off by this angle, roughly."""
    return {
        "angle_deg_mean": angle_deg,
        "angle_deg_median": 0.85 * angle_deg,
        "mixture_mae": angle_deg / 120,
        "distance_spearman": 1 - angle_deg / 120,
        "distance_mae": angle_deg / 90,
        "retrieval_r1": 1 / (1 + angle_deg),
        "retrieval_mrr": 1 / (1 + angle_deg / 3),
        "n_leaked": 6000 / angle_deg**2,
        "composition_deg_mean": 1.1 * angle_deg,
        "composition_deg_median": 0.95 * angle_deg,
        "composition_random_deg_mean": 24.0 + angle_deg / 10,
    }


def _metrics(class_names, members: pd.DataFrame, encoders: dict) -> dict:
    sampling = {k: v for k, v in fake_metrics(3.4).items() if k.startswith(("angle", "mixture"))}
    return {
        "dataset": "digits",
        "family": "vae",
        "classes": list(class_names),
        "init": "independent",
        "num_members": {s: int(np.sum(members["split"] == s)) for s in ("train", "val", "test")},
        "controls": {
            "constant": fake_metrics(33.6),
            "statistics/boosting": fake_metrics(19.4),
            "flat/ridge": fake_metrics(6.0),
            "moments/ridge": fake_metrics(3.8),
            "samples_512/raw": {**sampling, "runs_member": True},  # the best of them
        },
        "encoders": encoders,
        "best_encoder": "graph/graph/n_pair",
        "timings_s": {"classes": 14.2, "zoo": 203.0, "encoders": 190.5, "total": 431.0},
        "environment": {"python": "3.11.2", "jax": "0.10.2", "processor": "2 cores, x86_64"},
    }


def _images(generator, mixtures: np.ndarray, num_samples: int, channels: int, size: int):
    """uint8 [n, S, H, W, C]: scans of digits, class k of a mixture being the digit 2k."""
    scans, target = load_digits(return_X_y=True)
    by_class = [scans[target == 2 * k % 10] for k in range(mixtures.shape[1])]
    images = np.empty((len(mixtures), num_samples, 8, 8), np.uint8)
    for row, mixture in zip(images, mixtures, strict=True):
        labels = generator.choice(len(mixture), num_samples, p=mixture / mixture.sum())
        for s, label in enumerate(np.sort(labels)):
            scan = by_class[label][generator.integers(len(by_class[label]))]
            row[s] = np.clip(15 * scan.reshape(8, 8) + generator.normal(0, 12, (8, 8)), 0, 255)
    images = images.repeat(size // 8, axis=2).repeat(size // 8, axis=3)[..., None]
    tint = np.array([1.0, 0.8, 0.5])[:channels]
    return (images * tint).astype(np.uint8)
