"""Worker of the PyTorch peers: `python -m benchmarks.torch_worker KIND CASE --threads N`.

Needs nothing but PyTorch. Eager mode; Adam is the fused one, on stacked parameters as well.
"""

import argparse
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

from benchmarks.cases import CASES, Case
from benchmarks.workers import Turn, fastest, repeated, serve

NUM_IMAGES, PEAK_SIZE = 2000, 2048


class DenseVAE(nn.Module):
    """x [B, C, H, W], noise [B, Z] → logits [B, C, H, W], mean and log-variance [B, Z]."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        pixels = prod(case.image_shape)
        down, up = (pixels, *case.hidden), (case.latent, *reversed(case.hidden), pixels)
        self.encoder = nn.ModuleList(nn.Linear(*down[i : i + 2]) for i in range(len(down) - 1))
        self.heads = nn.Linear(down[-1], 2 * case.latent)
        self.decoder = nn.ModuleList(nn.Linear(*up[i : i + 2]) for i in range(len(up) - 1))

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = x.flatten(1)
        for layer in self.encoder:
            h = F.relu(layer(h))
        mean, log_var = self.heads(h).chunk(2, 1)
        h = mean + torch.exp(0.5 * log_var) * noise
        for layer in self.decoder[:-1]:
            h = F.relu(layer(h))
        return self.decoder[-1](h).view(x.shape), mean, log_var


class ConvVAE(nn.Module):
    """As `DenseVAE`, with 3×3 convolutions: of stride 2 down, behind nearest upsampling up."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        side, _, colours = case.image_shape
        down, up = (colours, *case.hidden), (*reversed(case.hidden), colours)
        smallest = side // 2 ** len(case.hidden)
        self.encoder = nn.ModuleList(
            nn.Conv2d(*down[i : i + 2], 3, 2, 1) for i in range(len(down) - 1)
        )
        self.heads = nn.Linear(smallest**2 * case.hidden[-1], 2 * case.latent)
        self.decoder_in = nn.Linear(case.latent, smallest**2 * case.hidden[-1])
        self.decoder = nn.ModuleList(nn.Conv2d(*up[i : i + 2], 3, 1, 1) for i in range(len(up) - 1))

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = x
        for layer in self.encoder:
            h = F.relu(layer(h))
        mean, log_var = self.heads(h.flatten(1)).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_var) * noise
        h = F.relu(self.decoder_in(z)).view(h.shape)
        for layer in self.decoder[:-1]:
            h = F.relu(layer(F.interpolate(h, scale_factor=2)))
        return self.decoder[-1](F.interpolate(h, scale_factor=2)), mean, log_var


NETWORKS = {"dense": DenseVAE, "conv": ConvVAE}


def loss_fn(model, x: Tensor, noise: Tensor) -> Tensor:
    """−ELBO of a batch in nats: Bernoulli pixels plus KL; `model` is anything callable."""
    logits, mean, log_var = model(x, noise)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
    return (reconstruction + kl) / len(x)


def images_of(case: Case) -> Tensor:
    """Noise float32 [M, C, H, W] in [0, 1]."""
    height, width, channels = case.image_shape
    return torch.rand(NUM_IMAGES, channels, height, width)


def loop(case: Case, memory_format: torch.memory_format):
    """Runs one step of one member."""
    images = images_of(case).to(memory_format=memory_format)
    model = NETWORKS[case.network](case).to(memory_format=memory_format)
    adam = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def run() -> None:
        x = images[torch.randint(0, NUM_IMAGES, (case.batch,))]
        adam.zero_grad(set_to_none=True)
        loss_fn(model, x, torch.randn(case.batch, case.latent)).backward()
        adam.step()

    return run


def prepare_loop(case: Case, turn_s: float) -> tuple[Turn, dict]:
    """A plain training loop in the faster of two memory layouts."""
    formats = {"contiguous": torch.contiguous_format}
    if case.network == "conv":
        formats["channels_last"] = torch.channels_last
    steps = {name: loop(case, memory_format) for name, memory_format in formats.items()}
    layout = fastest({name: repeated(run, 1, 0.1) for name, run in steps.items()})
    return repeated(steps[layout], 1, turn_s), {"layout": layout}


def prepare_vmap(case: Case, turn_s: float) -> tuple[Turn, dict]:
    """Many members at once by torch.func; Adam on the stacked parameters is elementwise."""
    num, images = case.torch_vmap, images_of(case)
    models = [NETWORKS[case.network](case) for _ in range(num)]
    params, _ = stack_module_state(models)
    adam = torch.optim.Adam(params.values(), 1e-3, fused=True)

    def member_loss(params, x, noise):
        return loss_fn(lambda *inputs: functional_call(models[0], params, inputs), x, noise)

    grads_fn = vmap(grad(member_loss))

    def run() -> None:
        x = images[torch.randint(0, NUM_IMAGES, (num, case.batch))]
        grads = grads_fn(params, x, torch.randn(num, case.batch, case.latent))
        for name, param in params.items():
            param.grad = grads[name].detach()
        adam.step()

    return repeated(run, num, turn_s), {"members": num}


def prepare_peak(case: Case, turn_s: float) -> tuple[Turn, dict]:
    """One large float32 matmul; its turn is the best of a few, in seconds."""
    del case, turn_s
    a = torch.ones(PEAK_SIZE, PEAK_SIZE)
    turn = repeated(lambda: a @ a, 1, 0.0)
    return lambda: min(turn() for _ in range(5)), {}


PREPARE = {"loop": prepare_loop, "vmap": prepare_vmap, "peak": prepare_peak}


def main() -> None:
    """Serves one variant of one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=PREPARE)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--turn", type=float, default=1.0, help="seconds of a turn, about")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    serve(lambda: PREPARE[args.kind](CASES[args.case], args.turn))


if __name__ == "__main__":
    main()
