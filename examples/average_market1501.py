"""The mean of networks that ``train_market1501.py`` trained one from another (SWA).

    python examples/average_market1501.py --root reid-data --out mean second/ema.pth third/ema.pth

Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018: ends
of rounds with a cosine each lie around an optimum, their mean nearer to it. Means and variances of
batch norms do not average: they are measured again on training images.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import update_bn
from torchreid import data as torchreid_data
from torchreid import utils as torchreid_utils
from train_market1501 import augmented, read

from torchreid_magnifier import models
from torchreid_magnifier.checkpoint import NETWORK, read_checkpoint
from torchreid_magnifier.errors import MagnifierError
from torchreid_magnifier.files import replacing

BATCHES, BATCH = 80, 64


def main(arguments: list[str] | None = None) -> Path:
    """Write ``ema.pth`` of the mean, which ``open_network`` opens; returns its path."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("reid-data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("rounds", type=Path, nargs="+", help="their files ema.pth")
    args = parser.parse_args(arguments)
    rounds = [read_checkpoint(path) for path in args.rounds]
    made = rounds[0].get(NETWORK)
    for path, other in zip(args.rounds, rounds):
        if made is None or other.get(NETWORK) != made:
            raise MagnifierError(
                f"{path}: expected ema.pth of a round of the network of {args.rounds[0]}, "
                f"{made}, found {other.get(NETWORK, 'a file that no training wrote')}"
            )
    torchreid_utils.set_random_seed(args.seed)
    images = read(args.root)
    model = models.build(
        made["model"], made["num_classes"], "triplet", pretrained=False, **made["options"]
    )
    states = [ended["state_dict"] for ended in rounds]
    mean = {
        name: sum(state[name] for state in states) / len(states)
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    }
    model.load_state_dict(mean)
    source = [(str(row), int(pid), 0) for row, pid in enumerate(images.pids)]
    sampler = torchreid_data.sampler.RandomIdentitySampler(source, BATCH, 4)
    order = np.array(list(sampler)).reshape(-1, BATCH)[:BATCHES]
    size = made["height"], made["width"]
    update_bn((augmented(images, rows, size, erase=0.5) for rows in order), model.train())
    args.out.mkdir(parents=True, exist_ok=True)
    with replacing(args.out / "ema.pth") as temporary:
        torch.save({"state_dict": model.state_dict(), NETWORK: made}, temporary)
    return args.out / "ema.pth"


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # the CPU is slow with numbers next to zero
    try:
        print(f"Wrote {main()}")
    except MagnifierError as error:
        raise SystemExit(f"error: {error}") from error
