"""Plants faults in the package, one at a time, and shows that the tests catch each.

    python tests/planted/plant.py [WORD ...]

A fault is a line of a core module that is replaced in a temporary copy of the package; the few
tests concerned must fail then, and pass without it. With words only those faults are planted whose
description has one of them. Ends with a table in Markdown, and with status 1 if a fault survived.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]


class Fault(NamedTuple):
    """What is wrong, where, and the tests that must see it."""

    says: str
    file: str
    line: str
    instead: str
    tests: str  # a file below tests/, and what -k selects


FAULTS = (
    Fault(
        "a resumed run is seeded as one from the start",
        "training/run.py",
        "cfg.train.seed + cfg.train.start_epoch + _SEED_STEP",
        "cfg.train.seed + _SEED_STEP",
        "test_training.py -k draws_anew",
    ),
    Fault(
        "train.stepsize and train.gamma may change on resuming",
        "training/resume.py",
        r"train\.(max_epoch|",
        r"train\.(max_epoch|stepsize|gamma|",
        "test_training.py -k training_unchanged",
    ),
    Fault(
        "SD loss: a region is compared with itself too",
        "losses/semantic_diversity.py",
        "triu_indices(num_regions, num_regions, 1,",
        "triu_indices(num_regions, num_regions, 0,",
        "test_losses.py",
    ),
    Fault(
        "mask loss: parts weigh by their size",
        "losses/forward_pass.py",
        "return (sums / counts.masked_fill(~occurs, 1)).sum() / occurs.sum()",
        "return sums.sum() / counts.sum()",
        "test_losses.py",
    ),
    Fault(
        "triplet loss: any negative in place of the nearest",
        "losses/batch_hard_triplet.py",
        "negative = distances.masked_fill(same, torch.inf).amin(1)",
        "negative = distances.masked_fill(same, 0).amax(1)",
        "test_batch_hard_triplet.py",
    ),
    Fault(
        "attached losses are counted once for each head",
        "losses/attach.py",
        "return None, None, *own, *grads",
        "return None, None, *(len(grads) * g for g in own), *grads",
        "test_attach.py",
    ),
    Fault(
        "the heads of the regions weigh as much as the others",
        "models/base.py",
        "return lambda: count * forward_pass.weight(head)",
        "return count",
        "test_engine_gradient.py -k steps_along_equation_4",
    ),
    Fault(
        "a head's weight is not multiplied by the number of heads",
        "models/base.py",
        "return count * weight",
        "return weight",
        "test_engine_gradient.py -k heads_weigh",
    ),
    Fault(
        "labels shrink to the upper left pixel of each cell",
        "models/regions.py",
        'mode="nearest-exact"',
        'mode="nearest"',
        "test_regions.py",
    ),
    Fault(
        "SAB erases the background",
        "models/magnifiernet/semantic_adversarial.py",
        "kept = [BACKGROUND]",
        "kept = []",
        "test_regions.py test_models.py -k sampl or kept or region",
    ),
    Fault(
        "regions are fused in reverse",
        "models/magnifiernet/semantic_fusion.py",
        "for region in regions.unbind(1):\n            state",
        "for region in regions.flip(1).unbind(1):\n            state",
        "test_engine_gradient.py -k steps_along_equation_4",
    ),
    Fault(
        "a BNNeck has a trained shift",
        "models/layers.py",
        "        del self.bias\n        self.register_buffer",
        "        return\n        self.register_buffer",
        "test_models.py test_engine_gradient.py -k neck or bias or steps_along",
    ),
    Fault(
        "an image in evaluation is normalised with its batch",
        "models/base.py",
        "found = self._embed(rgb, compiled=False)",
        "found = self.train()._embed(rgb, compiled=False)",
        "contract/test_every_model.py -k made_of_its_branches",
    ),
    Fault(
        "folding leaves the shift of the statistics out",
        "models/folding.py",
        "fused.bias.to(dtype)",
        "0 * fused.bias.to(dtype)",
        "test_performance.py -k gives_the_same and r18_g",
    ),
    Fault(
        "warm-up ends an epoch late",
        "training/optim/schedule.py",
        "if self.last_epoch < self.warmup_epochs:",
        "if self.last_epoch <= self.warmup_epochs + 1:",
        "test_optim.py",
    ),
    Fault(
        "san_adam never turns to AMSGrad",
        "training/optim/san_adam.py",
        'group["amsgrad"] = True',
        'group["amsgrad"] = False',
        "test_san_adam.py",
    ),
    Fault(
        "SAN compares the positive pair with itself",
        "losses/decoder_triplet.py",
        "negative = _distance(level[first + b], level[first + n])",
        "negative = _distance(level[first + a], level[first + p])",
        "test_san_parity.py -k constraints_of_other",
    ),
    Fault(
        "images of the query's own camera count",
        "evaluation/ranking.py",
        "return images[~own], images[own]",
        "return images, images[:0]",
        "test_evaluation.py",
    ),
    Fault(
        "labels stay where they are when the image is flipped",
        "data/transforms.py",
        "T.RandomHorizontalFlip: _flipped,",
        "T.RandomHorizontalFlip: lambda step, image, labels: (step(image), labels),",
        "test_transforms.py -k flip",
    ),
    Fault(
        "a killed process leaves half a file",
        "files.py",
        "        os.replace(temporary, path)\n",
        "        Path(path).write_bytes(temporary.read_bytes()[:-1])\n",
        "test_files.py",
    ),
    Fault(
        "a download is not compared with its hash",
        "hub/card.py",
        "return None if found == self.sha256 else",
        "return None if found else",
        "test_weights_download.py -k damaged or garbage",
    ),
    Fault(
        "queries are not normalised for the cosine",
        "inference/index.py",
        "return F.normalize(rows, dim=1) if normalise else rows",
        "return rows",
        "test_retrieval.py",
    ),
    Fault(
        "a class of DensePose becomes another part",
        "annotate/importers/tables.py",
        "upper arm left: upper_arm; upper arm right",
        "upper arm left: lower_arm; upper arm right",
        "test_import.py",
    ),
    Fault(
        "the box that RTMPose sees is not enlarged on the way back",
        "annotate/parsers/rtmpose.py",
        "points = (keypoints[:, :2] - self._size / 2) * scale + centre",
        "points = (keypoints[:, :2] - self._size / 2) * scale / _ENLARGED + centre",
        "test_rtmpose.py -k known_outputs",
    ),
    Fault(
        "OpenPose's arms are the other side's",
        "annotate/skeletons.py",
        '_ARMS = (*_side("right", *_LIMBS[:3]), *_side("left", *_LIMBS[:3]))',
        '_ARMS = (*_side("left", *_LIMBS[:3]), *_side("right", *_LIMBS[:3]))',
        "test_parsing.py -k both_orders",
    ),
    Fault(
        "feet above heads are people",
        "annotate/plausible.py",
        "if enough and 2 * sum(wrong_ones) > len(wrong_ones):",
        "if enough and 2 * sum(wrong_ones) > 2 * len(wrong_ones):",
        "test_labels.py -k other_sapiens",
    ),
)


def planted(fault: Fault | None, folder: Path) -> Path:
    """Copy the package into ``folder`` with a fault; returns the folder to import it from."""
    package = folder / "torchreid_magnifier"
    shutil.copytree(
        REPOSITORY / package.name, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("tests", "examples", "weights", "docs", "setup.py", "setup.cfg", "pyproject.toml"):
        (folder / name).symlink_to(REPOSITORY / name)
    if fault:
        path = package / fault.file
        text = path.read_text()
        if fault.line not in text:
            raise SystemExit(f"{fault.says}: {fault.file} has no line {fault.line!r} any more")
        path.write_text(text.replace(fault.line, fault.instead, 1))
    return folder


def failures(folder: Path, tests: str) -> tuple[int, str]:
    """Run tests on the copy in a process of its own; returns pytest's status and what it printed.

    The process is forked once torch is loaded, so that each takes seconds.
    """
    files, _, chosen = tests.partition(" -k ")
    arguments = [str(REPOSITORY / "tests" / name) for name in files.split()]
    arguments += ["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-o", "addopts=", "--tb=no"]
    arguments += ["-k", chosen] if chosen else []
    output = folder / "output.txt"
    child = os.fork()
    if child == 0:
        with open(output, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        import pytest

        os._exit(int(pytest.main(arguments)))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text()


def main(words: list[str]) -> int:
    """Plant the faults whose description has one of ``words``, or all."""
    os.environ |= {"TORCHREID_MAGNIFIER_AUTOLOAD": "0", "OMP_NUM_THREADS": "1"}
    # An editable install puts the repository itself first.
    sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in str(f).lower()]
    with contextlib.suppress(ImportError):
        import torchreid  # noqa: F401  heavy: shared by all that is forked

    chosen = [f for f in FAULTS if not words or any(word in f.says for word in words)]
    rows, survived = [], 0
    for fault in chosen:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            status, printed = failures(planted(None, Path(folder)), fault.tests)
            if status:
                raise SystemExit(f"{fault.tests}: fails without the fault, too\n{printed}")
        with tempfile.TemporaryDirectory() as folder:
            status, printed = failures(planted(fault, Path(folder)), fault.tests)
        found = re.search(r"FAILED \S*/(tests/\S+|test_\S+)|FAILED (\S+)", printed)
        caught = status == 1
        by = (found[1] or found[2]).split(" ")[0] if found else f"status {status}"
        survived += not caught
        rows.append(f"| {fault.says} | `{fault.file}` | {f'`{by}`' if caught else '**nothing**'} |")
        print(f"{rows[-1]}  {time.monotonic() - start:.0f} s", flush=True)
        if not caught:
            print(printed[-2000:], flush=True)
    print("\n| fault | in | caught by |\n|---|---|---|", *rows, sep="\n")
    print(f"\n{len(chosen) - survived} of {len(chosen)} faults are caught.")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
