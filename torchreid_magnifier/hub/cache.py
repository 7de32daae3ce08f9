"""From an entry of a manifest to a verified file on this machine."""

from pathlib import Path

import torch
from filelock import FileLock

from .card import Weights, WeightsError
from .download import download


def fetch(weights: Weights) -> Path:
    """The path of the file, whose size and hash are those of the manifest.

    A file that came with the manifest is used where it is, then one that was downloaded before;
    only then is it downloaded. Processes that ask at once download it once. What is going on is
    told on stderr.

    Raises:
        WeightsError: it cannot be had: everything that was tried with the reason, and where to put
            the file by other means.
    """
    tried = []
    for path in places(weights):
        fault = weights.fault_of(path)
        if fault is None:
            return path
        tried.append(f"{path}: {fault}")
    target = cached_path(weights)
    if weights.links:
        try:
            failures = _download_once(weights, target)
        except OSError as error:
            raise WeightsError(
                f"The weights {weights.name!r} ({weights.size / 1e6:.1f} MB) cannot be stored in "
                f"{target.parent} ({error}): make room there, or name another folder by the "
                "environment variable TORCH_HOME."
            ) from error
        if not failures:
            return target
        tried += failures
    raise WeightsError(
        "\n  ".join([f"The weights {weights.name!r} cannot be had:", *tried])
        + f"\nGet the file by other means and put it at {target}: {weights.size:,} bytes, "
        f"SHA-256 {weights.sha256}."
    )


def places(weights: Weights) -> list[Path]:
    """Where the file is looked for on this machine, in this order."""
    return [path for path in (weights.file, cached_path(weights)) if path is not None]


def cached_path(weights: Weights) -> Path:
    """Where the file is put when it is downloaded: in torch's own folder, see ``TORCH_HOME``.

    The name has the beginning of the hash, so that two versions do not push each other out.
    """
    name = f"{weights.name}-{weights.sha256[:8]}.pth"
    return Path(torch.hub.get_dir(), "checkpoints", "torchreid_magnifier", name)


def _download_once(weights: Weights, target: Path) -> list[str]:
    """As ``download``, unless another process has done it by then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if weights.fault_of(target) is None:
            return []
        return download(weights, target)
