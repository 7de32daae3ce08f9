"""What ``test_distributed.py`` has run by two processes, beside the same by one."""

import hashlib
import math
import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import torchreid
from networks import small
from PIL import Image
from torch.utils.data import DataLoader

from torchreid_magnifier.distributed.launch import joined
from torchreid_magnifier.distributed.processes import ALONE, Processes
from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference import extract
from torchreid_magnifier.inference.evaluate import evaluate
from torchreid_magnifier.inference.explain.rankings import EvaluationSet, Sample
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.parts import NUM_PARTS
from torchreid_magnifier.training.engine import Engine
from torchreid_magnifier.training.loaders import share_of_training

NUM_CLASSES, BATCH, SEED = 4, 8, 5
CASES = {  # name of the case -> model, its loss, options of the engine, number of steps
    "softmax": ("magnifiernet_r18", "softmax", {}, 1),
    "triplet": ("magnifiernet_r18", "triplet", {}, 1),
    "triplet_sd": ("magnifiernet_r18", "triplet_sd", {}, 1),
    "official": ("magnifiernet_r18_official", "triplet_sd", {}, 2),
    "unused classifiers": ("magnifiernet_r18_g", "triplet", {"weight_x": 0}, 2),
    "frozen first": ("magnifiernet_r18_g", "triplet", {}, 2),
}


class People(torch.utils.data.Dataset):
    """Noise with labels that leave out parts: some of everyone, some of one process alone."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(2 * BATCH, 3, 32, 32, generator=generator, dtype=dtype)
        labels = torch.randint(0, NUM_PARTS, (2 * BATCH, 1, 32, 32), generator=generator)
        labels[:, :, :16] = 2  # sizes of parts differ
        labels[labels == 6] = 0
        labels[: BATCH // 2][labels[: BATCH // 2] == 7] = 1
        self.images = torch.cat([images, labels], 1)
        self.pids = torch.arange(2 * BATCH) // 2 % NUM_CLASSES

    def __len__(self) -> int:
        return len(self.pids)

    def __getitem__(self, index: int) -> dict:
        return {"img": self.images[index], "pid": int(self.pids[index]), "camid": index % 3}


def engine_for(name: str, loss: str, processes: Processes, **options):
    model = small(name, loss, NUM_CLASSES).double()
    for layer in model.classifier.values():  # as drawn they hardly pass a gradient on
        torch.nn.init.normal_(layer.weight, std=0.1)
    if loss == "softmax":
        options |= {"margin": None}
    if processes.count == 1:
        model.generator = torch.Generator().manual_seed(SEED)
    loader = DataLoader(People(), BATCH, drop_last=True)
    data = SimpleNamespace(train_loader=loader, test_loader=None, num_train_pids=NUM_CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    return Engine(data, model, optimizer, use_gpu=False, processes=processes, seed=SEED, **options)


def steps(processes: Processes, case: str) -> dict:
    """Gradients of the first step, weights and statistics after the last, numbers shown."""
    name, loss, options, count = CASES[case]
    engine = engine_for(name, loss, processes, **options)
    model = engine.model.train()
    shown = []
    if case == "frozen first":
        torchreid.utils.open_specified_layers(model, ["classifier"])
    for number, batch in zip(range(count), engine.train_loader):
        if number:
            torchreid.utils.open_all_layers(model)
        shown.append(engine.forward_backward(batch))
        if not number:
            gradients = {n: p.grad for n, p in model.named_parameters()}
            gradients = {n: g if g is None else g.clone() for n, g in gradients.items()}
    model.eval()  # closes the epoch of the log
    return {
        "gradients": gradients,
        "weights": model.state_dict(),
        "shown": shown,
        "log": [{k: v for k, v in e.items() if k != "mask_miou"} for e in model.loss_log.history],
    }


def features(processes: Processes) -> list:
    """Of a gallery of 16 images in batches of 3, and of one that is a single batch."""
    engine = engine_for("magnifiernet_r18_g", "softmax", processes)
    engine.model.eval()
    engine.parse_data_for_eval = lambda batch: (batch["img"][:, :3], batch["pid"], batch["camid"])
    with torch.no_grad():
        return [
            tuple(
                engine._extract("gallery", DataLoader(People(), n), torchreid.utils.AverageMeter())
            )
            for n in (3, 16)
        ]


def shares(processes: Processes) -> list[list[int]]:
    """The images of each process in the first batch of a sampler that draws."""
    torchreid.utils.set_random_seed(processes.rank)
    people = People()
    source = [("", int(pid), 0, 0) for pid in people.pids]
    sampler = torchreid.data.sampler.RandomIdentitySampler(source, BATCH, num_instances=2)
    loader = DataLoader(range(len(people)), BATCH, sampler=sampler, drop_last=True)
    return processes.gather(next(iter(share_of_training(loader, processes))).tolist())


def failure(processes: Processes) -> list[str]:
    """What each process raises when the last one fails."""

    def fail_at_the_last():
        if processes.rank == processes.count - 1:
            raise ValueError("only here")

    try:
        processes.together(fail_at_the_last, in_turn=True)
    except Exception as error:
        raised = type(error).__name__
    return processes.gather(raised)


def prepare(folder: Path) -> None:
    """Write pictures, and an unfinished extraction of one process whose chunks have a hole."""
    extract.CHUNK = 4
    (folder / "people").mkdir()
    generator = np.random.default_rng(0)
    for number in range(22):
        pixels = generator.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "people" / f"{number:02}.png")
    (folder / "people" / "05.png").write_bytes(b"no image")
    with mock.patch.object(extract, "write_embeddings", side_effect=OSError("full")):
        with suppress(OSError):
            extraction(ALONE, folder, "holes")
    for chunk in (0, 1, 4):
        (folder / "holes.npz.partial" / f"{chunk:06}.npz").unlink()


def network() -> Network:
    return Network(small("magnifiernet_r18").eval(), Card("made", "magnifiernet_r18", 32, 32))


def extraction(processes: Processes, folder: Path, name: str) -> tuple:
    extract.CHUNK = 4
    out = folder / f"{name}.npz"
    written = extract.extract(
        network(), [folder / "people"], out, batch_size=2, workers=1, processes=processes
    )
    return written, hashlib.sha256(out.read_bytes()).hexdigest()


def evaluated(processes: Processes, folder: Path) -> dict:
    paths = [path for path in sorted(map(str, (folder / "people").iterdir())) if "05" not in path]
    people = [Sample(path, number // 3, number % 3, 0) for number, path in enumerate(paths)]
    images = EvaluationSet(people[::3], people[1::3] + people[2::3])
    return evaluate(network(), images, batch_size=4, processes=processes)


def measure(processes: Processes) -> dict:
    """All that one process and several must have alike."""
    return {
        "steps": {case: steps(processes, case) for case in CASES},
        "features": features(processes),
    }


def differences(found: dict, expected: dict) -> dict[str, float]:
    """Of each tensor the largest, relative to its largest value; infinite if one has none."""
    largest = dict.fromkeys(found.keys() ^ expected.keys(), math.inf)
    for name in found.keys() & expected.keys():
        a, b = found[name], expected[name]
        if a is None or b is None:
            largest[name] = 0.0 if a is b else math.inf
        else:
            scale = b.double().abs().max().clamp_min(1e-12)
            largest[name] = float((a.double() - b.double()).abs().max() / scale)
    return largest


def main(folder: Path) -> None:
    """Leave ``found.pt`` in a folder."""
    expected = {}
    if os.environ["RANK"] == "0":
        prepare(folder)
        expected = measure(ALONE)
        expected["extraction"] = extraction(ALONE, folder, "one")
        expected["evaluation"] = evaluated(ALONE, folder)
    with joined(use_gpu=False) as processes:
        found = measure(processes)
        found["extraction"] = extraction(processes, folder, "two")
        found["went on"] = extraction(processes, folder, "holes")
        found["evaluation"] = evaluated(processes, folder)
        sums = [
            [float(tensor.double().sum()) for tensor in step["weights"].values()]
            for step in found["steps"].values()
        ]
        printed = {
            "sums of weights": processes.gather(sums),
            "shares": shares(processes),
            "raised": failure(processes),
            "from main": processes.gather(processes.from_main(lambda: processes.rank)),
        }
    if not expected:
        return
    for case, step in found["steps"].items():
        then = expected["steps"][case]
        for tensors in ("gradients", "weights"):
            step[tensors] = differences(step[tensors], then.pop(tensors))
    torch.save({"one": expected, "two": found | printed}, folder / "found.pt")
