"""The training of the weights ``magnifiernet_osnet_x0_25_market1501``: MagnifierNet with a teacher.

    pip install "torchreid-magnifier[teacher]"
    torchreid-magnifier masks make --dataset market1501 --root reid-data …
    python examples/train_market1501.py --root reid-data --out log/market1501 \\
        --start osnet_x0_25_msmt17.pth --teacher person-reidentification-retail-0277.xml

The start is torchreid's file of OSNet x0.25, the teacher a network of OpenVINO's model zoo, whose
cosine similarities the branches are to reproduce. The same command goes on after an interruption,
with the result of an undisturbed run. ``--hold-out 100`` leaves identities out and tests on them,
for choosing settings.

One CPU core suffices: all images are decoded once and kept in memory, most epochs see small ones,
and what convolves is computed in bfloat16.

Adam's L2 weight decay outweighs losses of a small weight: the region classifiers would fade to zero
within about twelve epochs, so they have none. ``train_market1501.sh`` has all rounds of the weights
that ship, the mean of the last two.
"""

import argparse
import math
import random
import shlex
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor, nn
from torchreid import data as torchreid_data
from torchreid import utils as torchreid_utils

from torchreid_magnifier import __version__, models
from torchreid_magnifier.checkpoint import NETWORK, read_checkpoint, state_dict_of
from torchreid_magnifier.data.masks import MASKS
from torchreid_magnifier.data.reading import read_dataset
from torchreid_magnifier.errors import MagnifierError
from torchreid_magnifier.evaluation import PairwiseDistances, evaluate_rank
from torchreid_magnifier.experiments.tables import csv_text
from torchreid_magnifier.files import load_yaml, locked, replacing, sha256, write_atomically
from torchreid_magnifier.hub.card import IMAGENET_MEAN, IMAGENET_STD
from torchreid_magnifier.hub.pack import pack
from torchreid_magnifier.images import open_image
from torchreid_magnifier.losses.batch_hard_triplet import BatchHardTripletLoss
from torchreid_magnifier.models.base import ReIDModel
from torchreid_magnifier.training.optim import use_fused, without_decay
from torchreid_magnifier.training.resume import random_state, set_random_state
from torchreid_magnifier.training.teacher import open_file

SOURCE = "market1501_masks"
HEIGHT, WIDTH = 128, 64  # of Market-1501's files
PAD = 5  # pixels of such an image that a crop may shift by
MEAN, STD = (255 * torch.tensor(x) for x in (IMAGENET_MEAN, IMAGENET_STD))
PATHS = ("root", "out", "start", "teacher", "device")  # may differ when a run goes on


def options() -> argparse.ArgumentParser:
    """Return the parser; its defaults are the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--root", type=Path, default=Path("reid-data"), help="data root, with part masks")
    add("--out", type=Path, required=True, help="folder of the run; one that is there goes on")
    add("--model", default="magnifiernet_osnet_x0_25", help="this, or a part of it (…_g, …_g_m)")
    add("--options", type=mapping, default={}, help="of the model: '{fusion: gru}'")
    add("--loss", choices=("triplet", "triplet_sd"), default="triplet", help="_sd: stage 2")
    add("--start", type=Path, help="weights of osnet_x0_25, or an earlier run's ema.pth")
    add("--teacher", type=Path, help=".xml (openvino) or .onnx (onnxruntime); none without")
    add("--teacher-order", choices=("bgr", "rgb"), default="bgr", help="its channels, 0..255")
    add("--phases", default="128x64:18,192x96:9,256x128:13", help="height x width : epochs, …")
    add("--batch", type=int, default=64)
    add("--instances", type=int, default=4, help="images of an identity in a batch")
    add("--lr", type=float, default=1.5e-3)
    add("--warm-up", type=float, default=0.04, help="share of all steps")
    add("--last-lr", type=float, default=0.01, help="as a share of --lr; a cosine leads there")
    add("--weight-decay", type=float, default=5e-4)
    add("--teacher-cosine", type=float, default=5.0, help="weight: 1 - cosine of each branch")
    add("--teacher-pairs", type=float, default=50.0, help="weight: similarities within a batch")
    add("--erase", type=float, default=0.5, help="probability of random erasing")
    add("--ema", type=float, default=0.998, help="decay of the mean of the weights, the result")
    add("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    add("--seed", type=int, default=1)
    add("--hold-out", type=int, default=0, metavar="N", help="identities to test on instead")
    add("--device", default="cpu")
    return parser


def mapping(text: str) -> dict[str, Any]:
    """Return the mapping that ``text`` is, in YAML."""
    try:
        given = load_yaml(text)
    except yaml.YAMLError:
        given = None
    if not isinstance(given, dict):
        raise argparse.ArgumentTypeError(f"expected NAME: VALUE, … in braces, found {text!r}")
    return given


def shown(value: Any) -> str:
    """Return the text of an argument's value."""
    if isinstance(value, dict):
        return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).strip()
    return str(value)


class Images(NamedTuple):
    """N training images: uint8 (N, H, W, 3), their part labels (N, H, W), identities, cameras."""

    pixels: np.ndarray
    labels: np.ndarray
    pids: np.ndarray
    cameras: np.ndarray
    names: list[str]


def read(root: Path) -> Images:
    """Decode all training images at Market-1501's size, in the order of their names."""
    dataset = read_dataset(SOURCE, root)
    samples = sorted(dataset.train, key=lambda sample: sample[0])
    size, bilinear, nearest = (WIDTH, HEIGHT), Image.Resampling.BILINEAR, Image.Resampling.NEAREST
    labels = [Image.fromarray(MASKS.read(dataset.sidecar_paths[path])) for path, *_ in samples]
    return Images(
        np.stack([np.asarray(open_image(path).resize(size, bilinear)) for path, *_ in samples]),
        np.stack([np.asarray(label.resize(size, nearest)) for label in labels]),
        np.array([sample[1] for sample in samples]),
        np.array([sample[2] for sample in samples]),
        [Path(sample[0]).name for sample in samples],
    )


def teach(path: Path, order: str, images: Images, cache: Path) -> Tensor:
    """Return the teacher's embeddings (N, D) of length 1; computed once, then kept in a file.

    Each is the mean of those of the image and its mirror image.
    """
    made_of = {"sha256": sha256(path), "order": order, "names": images.names}
    if cache.is_file():
        found = torch.load(cache, weights_only=True)
        if {key: found[key] for key in made_of} == made_of:
            return found["embeddings"]
    embed, (*_, height, width), _ = open_file(path)
    rows = []
    for image in images.pixels[..., ::-1] if order == "bgr" else images.pixels:
        x = cv2.resize(np.ascontiguousarray(image), (width, height)).transpose(2, 0, 1)
        views = (np.ascontiguousarray(view[None], np.float32) for view in (x, x[..., ::-1]))
        both = torch.from_numpy(np.stack([embed(view) for view in views])).float()
        rows.append(F.normalize(F.normalize(both).sum(0), dim=0))
    embeddings = torch.stack(rows)
    with replacing(cache) as temporary:
        torch.save({**made_of, "embeddings": embeddings}, temporary)
    return embeddings


def enlarged(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Normalise uint8 (N, H, W, 3) and resize it as a batch -> (N, 3, *size), channels last."""
    x = ((torch.from_numpy(pixels).float() - MEAN) / STD).permute(0, 3, 1, 2)
    if x.shape[2:] != size:
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    return x


def augmented(images: Images, rows: np.ndarray, size: tuple[int, int], erase: float) -> Tensor:
    """Flip, shift, enlarge and erase images -> (N, 4, *size): RGB and part labels."""
    pixels = np.empty((len(rows), HEIGHT, WIDTH, 3), np.uint8)
    pixels[:] = MEAN.round().byte().numpy()
    labels = np.zeros((len(rows), HEIGHT, WIDTH), np.uint8)
    for k, row in enumerate(rows):
        dy, dx = np.random.randint(-PAD, PAD + 1, 2)
        image, label = images.pixels[row], images.labels[row]
        if random.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        to = np.s_[max(0, dy) : HEIGHT + min(0, dy), max(0, dx) : WIDTH + min(0, dx)]
        of = np.s_[max(0, -dy) : HEIGHT + min(0, -dy), max(0, -dx) : WIDTH + min(0, -dx)]
        pixels[k][to], labels[k][to] = image[of], label[of]
    x = enlarged(pixels, size)
    erasing = torchreid_data.transforms.RandomErasing(erase, mean=[0, 0, 0])  # the mean colour
    for image in x:
        erasing(image)
    y = F.interpolate(torch.from_numpy(labels)[:, None], size=size, mode="nearest")
    return torch.cat([x, y.float()], 1)


def begin_with(model: nn.Module, path: Path) -> None:
    """Load what ``path`` has of ``model``: OSNet's weights, or a network of an earlier round."""
    start = state_dict_of(read_checkpoint(path))
    wanted = {name.removeprefix("backbone."): name for name in model.state_dict()}
    found = {wanted.get(name, name): value for name, value in start.items()}
    fits = {
        name: found[name]
        for name, value in model.state_dict().items()
        if name in found and found[name].shape == value.shape
    }
    if lacking := [name for name in wanted.values() if "backbone." in name and name not in fits]:
        raise MagnifierError(
            f"{path}: expected weights on OSNet x0.25, found no {lacking[0]} of it"
        )
    model.load_state_dict(fits, strict=False)


def build(args: argparse.Namespace, num_classes: int) -> ReIDModel:
    """Return the network that is asked for, with random weights."""
    options = {"pretrained": False, "precision": args.precision}
    return models.build(args.model, num_classes, args.loss, **options, **args.options)


class Learner:
    """The network, its projections to the teacher's space, and one step of their training."""

    def __init__(self, args: argparse.Namespace, num_classes: int, teacher_size: int) -> None:
        self.args = args
        self.model = build(args, num_classes).to(args.device)
        if args.start:
            begin_with(self.model, args.start)
        self.heads = list(self.model.classifier)
        branches = self.model.branches
        # A branch's embedding is what enters its classifier.
        self.embeddings: dict[str, Tensor] = {}
        for head in branches:
            self.model.classifier[head].register_forward_pre_hook(
                lambda _, given, head=head: self.embeddings.__setitem__(head, given[0])
            )
        widths = {head: self.model.classifier[head].in_features for head in branches}
        self.projections = nn.ModuleDict(
            {h: nn.Linear(w, teacher_size, bias=False) for h, w in widths.items() if teacher_size}
        ).to(args.device)
        learned = [*self.model.parameters(), *self.projections.parameters()]
        self.optimizer = torch.optim.Adam(learned, lr=args.lr, weight_decay=args.weight_decay)
        named = self.model.named_parameters()
        without_decay(
            self.optimizer, (p for name, p in named if name.startswith(self.model.undecayed))
        )
        self.triplet = BatchHardTripletLoss(0.3)
        self.ema = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.step = 0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        parts = ("model", "projections", "optimizer")
        states = {name: getattr(self, name).state_dict() for name in parts}
        return {**states, "ema": self.ema, "step": self.step}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what ``state`` returned."""
        for name in ("model", "projections", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.ema = {name: value.to(self.args.device) for name, value in state["ema"].items()}
        self.step = state["step"]

    def learn(self, images: Tensor, pids: Tensor, target: Tensor | None, share: float) -> Counter:
        """Take a step at ``share`` of the learning rate; returns the loss terms, unweighted."""
        args, terms = self.args, Counter()
        for group in self.optimizer.param_groups:
            group["lr"] = args.lr * share
        # As torchreid's engine has it, means over heads and branches: the model scales their
        # gradients by their weights and attaches the mask loss to them.
        if self.model.needs is None:
            images = images[:, :3]
        outputs, features = self.model(images)
        entropies = [F.cross_entropy(out, pids, label_smoothing=0.1) for out in outputs]
        triplets = [self.triplet(feature, pids) for feature in features]
        loss = torch.stack(entropies).mean() + torch.stack(triplets).mean()
        branches = self.model.branches
        for head, value in zip(self.heads, entropies):
            regions = len(self.heads) - len(branches)
            key, count = (head, 1) if head in branches else ("regions", regions)
            terms[f"ce_{key}"] += value.item() / count
        terms["triplet"] = torch.stack(triplets).mean().item()
        if target is not None:
            for head, project in self.projections.items():
                projected = F.normalize(project(self.embeddings[head]))
                value = 1 - (projected * target).sum(1).mean()
                loss = loss + args.teacher_cosine * value
                terms[f"teacher_{head}"] = value.item()
            whole = F.normalize(torch.cat([self.embeddings[head] for head in branches], 1))
            others = ~torch.eye(len(whole), dtype=torch.bool, device=whole.device)
            value = (whole @ whole.T - target @ target.T)[others].square().mean()
            loss = loss + args.teacher_pairs * value
            terms["teacher_pairs"] = value.item()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        decay = min(args.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.ema[name].lerp_(value, 1 - decay)
        terms["accuracy"] = (outputs[0].argmax(1) == pids).float().mean().item()
        return terms


def schedule(place: float, warm_up: float, last: float) -> float:
    """Return the share of the learning rate at a place 0..1 of the training."""
    if place < warm_up:
        return 0.1 + 0.9 * place / warm_up
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * (place - warm_up) / (1 - warm_up)))


def sizes_of(phases: str) -> list[tuple[int, int]]:
    """Return the image size of each epoch, of a text such as ``128x64:18,256x128:13``."""
    try:
        pairs = [phase.split(":") for phase in phases.split(",")]
        sizes = [(*map(int, s.split("x")),) for s, epochs in pairs for _ in range(int(epochs))]
        if not sizes or any(len(s) != 2 or min(s) < 16 or s[0] % 16 or s[1] % 16 for s in sizes):
            raise ValueError
    except ValueError as error:
        raise MagnifierError(
            "--phases: expected HEIGHTxWIDTH:EPOCHS,… with multiples of 16, such as "
            f"128x64:18,256x128:13, found {phases!r}"
        ) from error
    return sizes


def test(
    args: argparse.Namespace, ema: dict[str, Tensor], images: Images, rows: np.ndarray
) -> None:
    """Print the accuracy on ``rows``; queries are the first image of each person by a camera."""
    classes, size = len(ema["classifier.global.weight"]), sizes_of(args.phases)[-1]
    model = build(args, classes).eval()
    model.precision = "float32"
    model.load_state_dict(ema)
    with torch.inference_mode():
        found = torch.cat([model(enlarged(images.pixels[[row]], size)) for row in rows])
    first = {(images.pids[row], images.cameras[row]): k for k, row in reversed([*enumerate(rows)])}
    query = np.array(sorted(first.values()))
    gallery = np.setdiff1d(np.arange(len(rows)), query)
    pids, cameras = images.pids[rows], images.cameras[rows]
    distances = PairwiseDistances(found[query], found[gallery], "cosine")
    both = (pids[query], pids[gallery], cameras[query], cameras[gallery])
    cmc, mean_ap = evaluate_rank(distances, *both)
    print(f"{len(query)} queries held out: rank-1 {cmc[0]:.2%}, mAP {mean_ap:.2%}")


def main(arguments: list[str] | None = None) -> Path:
    """Train, or go on, and pack the result; returns its path."""
    args = options().parse_args(arguments)
    sizes = sizes_of(args.phases)
    try:
        build(args, 1)
    except (TypeError, ValueError) as error:
        raise MagnifierError(f"--model {args.model}, --options {args.options}: {error}") from error
    args.out.mkdir(parents=True, exist_ok=True)
    with locked(args.out / ".lock"):
        return train(args, sizes)


def train(args: argparse.Namespace, sizes: list[tuple[int, int]]) -> Path:
    """Train through all epochs; see ``main``."""
    settings = {key: value for key, value in vars(args).items() if key not in PATHS}
    settings |= {"start": bool(args.start), "teacher": bool(args.teacher)}
    torchreid_utils.set_random_seed(args.seed)
    images = read(args.root)
    people = np.unique(images.pids)
    held = people[:: len(people) // max(1, args.hold_out) or 1][: args.hold_out]
    is_held = np.isin(images.pids, held)
    rows, people = np.flatnonzero(~is_held), np.setdiff1d(people, held)
    if args.batch % args.instances or len(people) * args.instances < args.batch:
        raise MagnifierError(
            f"--batch {args.batch}: expected a multiple of --instances {args.instances}, up to "
            f"{args.instances * len(people)}, as there are {len(people)} identities"
        )
    pids = torch.from_numpy(np.searchsorted(people, images.pids))  # those held out: unused
    target = None
    if args.teacher:
        target = teach(args.teacher, args.teacher_order, images, args.out / "teacher.pt")
    learner = Learner(args, len(people), 0 if target is None else target.shape[1])
    source = [(images.names[row], int(pids[row]), int(images.cameras[row])) for row in rows]
    sampler = torchreid_data.sampler.RandomIdentitySampler(source, args.batch, args.instances)
    # It leaves out what fills no batch: about how long an epoch is, only a trial tells.
    before = random_state()
    steps = len(list(sampler)) // args.batch
    set_random_state(before)

    log: list[dict[str, Any]] = []
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if changed := [key for key in settings if settings[key] != saved["settings"].get(key)]:
            raise MagnifierError(
                f"{args.out} is a run with another {', '.join(changed)}: take another --out"
            )
        learner.load(saved["learner"])
        log = saved["log"]
        set_random_state(saved["random"])
    use_fused(learner.optimizer)

    for epoch, size in enumerate(sizes[len(log) :], len(log) + 1):
        learner.model.train()
        began, sums = time.monotonic(), defaultdict(float)
        batches = rows[list(sampler)].reshape(-1, args.batch)
        for batch in batches:
            place = learner.step / (steps * len(sizes))
            share = schedule(min(1.0, place), args.warm_up, args.last_lr)
            x = augmented(images, batch, size, args.erase).to(args.device)
            wanted = None if target is None else target[batch].to(args.device)
            terms = learner.learn(x, pids[batch].to(args.device), wanted, share)
            for name, value in terms.items():
                sums[name] += value / len(batches)
        seconds = time.monotonic() - began
        line = dict(epoch=epoch, size=f"{size[0]}x{size[1]}", lr=args.lr * share)
        log.append({**line, **sums, **learner.model.loss_log.end_epoch(), "seconds": seconds})
        print("  ".join(f"{k} {v:.4g}" if k != "size" else v for k, v in log[-1].items()))
        write_results(args, learner.ema, log, size, len(people))
        with replacing(checkpoint) as temporary:
            state = {"learner": learner.state(), "log": log, "settings": settings}
            torch.save({**state, "random": random_state()}, temporary)

    if args.hold_out:
        test(args, learner.ema, images, np.flatnonzero(is_held))
    packed = args.out / f"{args.model}_market1501.safetensors"
    packed.unlink(missing_ok=True)
    default = vars(options().parse_args(["--out", "."]))
    given = [
        f"--{key.replace('_', '-')} {shlex.quote(shown(value))}"
        for key, value in settings.items()
        if key not in PATHS and value != default[key]
    ]
    known = {"num_classes": len(people), "version": __version__, "dataset": SOURCE}
    known["command"] = " ".join(["examples/train_market1501.py", *given])
    started = {"start": args.start, "teacher": args.teacher}
    if used := [f"{what} {path.name}" for what, path in started.items() if path]:
        known["start"] = ", ".join(used)
    pack(args.out / "ema.pth", packed, known=known)
    print(f"Packed the network as {packed}")
    return packed


def write_results(
    args: argparse.Namespace,
    ema: dict[str, Tensor],
    log: list[dict[str, Any]],
    size: tuple[int, int],
    num_classes: int,
) -> None:
    """Write ``train.csv`` and ``ema.pth``, which ``open_network`` opens, of the epochs so far."""
    write_atomically(args.out / "train.csv", csv_text(list(log[0]), log).encode())
    network = dict(model=args.model, options=args.options, loss=args.loss, num_classes=num_classes)
    network |= dict(sources=[SOURCE], height=size[0], width=size[1])
    network |= dict(mean=list(IMAGENET_MEAN), std=list(IMAGENET_STD))
    with replacing(args.out / "ema.pth") as temporary:
        torch.save({"state_dict": ema, "epoch": len(log), NETWORK: network}, temporary)


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # the CPU is slow with numbers next to zero
    try:
        main()
    except MagnifierError as error:
        raise SystemExit(f"error: {error}") from error
