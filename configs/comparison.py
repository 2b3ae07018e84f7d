"""Every representation with every objective, under one small budget, for `:compare` variants."""

from typing import Any

# representation → encoder → its options. Those that read most numbers are narrower than by default,
# so that a training takes seconds; `latent_mean` and what follows it have to run the member.
READERS: dict[str, dict[str, dict[str, Any]]] = {
    "flat": {"mlp": {"hidden": (16, 256)}},
    "aligned": {"mlp": {"hidden": (16, 256)}},
    "statistics": {"mlp": {}},
    "moments": {"mlp": {}},
    "tokens": {"set": {"width": 64}, "transformer": {"width": 32, "num_layers": 1}},
    "graph": {"graph": {"width": 16, "readout": 64}},
    "latent_mean": {"mlp": {}},
    "reconstruction": {"mlp": {}},
    "samples": {"mlp": {}},
    "member": {"probes": {}},
}
# Of each reader the best of 3e-4, 1e-3 and 3e-3 on val members of MNIST, K = 3, by MSE (of the
# graph of the first two); of 1e-5, 3e-5 and 1e-4 where a hidden neuron sums over 100,000 inputs.
RATES = {"flat": 1e-4, "aligned": 1e-4, "graph": 1e-3}
RATE = 3e-3
RUN_THE_MEMBER = ("latent_mean", "reconstruction", "samples", "pixels", "member")
OBJECTIVES: dict[str, dict[str, Any]] = {
    "n_pair": {"n_pair": {"temperature": 0.05}},
    "cosine": {"cosine": {}},
    "triplet": {"triplet": {}},
    "mse": {"mse": {}},
    "distance": {"distance": {}},
    "mse+n_pair": {"mse": {}, "n_pair": {"temperature": 0.05, "weight": 0.1}},
    "mse+distance": {"mse": {}, "distance": {}},
}


def compare(config: Any, readers: Any = READERS) -> None:
    """Replaces the encoders of a config: all get the same steps and batches."""
    config.ensembles = {}
    config.encoders = {
        f"{representation}_{encoder}_{name}": {
            "representation": representation,
            "encoder": {"name": encoder, "args": args},
            "objective": objective,
            "augment": 0.3 if representation == "graph" else 0.0,
            "seeds": (0, 1, 2),
            "train": {
                "steps": 300,
                "batch_size": 32,
                "learning_rate": (RATES.get(representation, RATE),),
                "weight_decay": 0.3,
                "eval_every": 100,
            },
        }
        for representation, encoders in readers.items()
        for encoder, args in encoders.items()
        for name, objective in OBJECTIVES.items()
    }
