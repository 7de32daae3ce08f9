"""Where a measurement was taken, and how samples are summarised."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30


def describe(device: str = "cpu") -> dict[str, Any]:
    """Hardware, versions and commit. ``device`` is ``cpu`` or ``cuda``."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(ROOT),
    }
    if device == "cpu":
        found["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    else:
        found["gpu"] = torch.cuda.get_device_name()
        found["gpu_memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / GIB, 1)
        found["cuda"] = torch.version.cuda
        found["cudnn"] = torch.backends.cudnn.version()
        # Of the processes that measure: PyTorch's defaults, and cudnn.benchmark as trainers set it.
        found["tf32_convolutions"] = torch.backends.cudnn.allow_tf32
        found["tf32_matrix_products"] = torch.backends.cuda.matmul.allow_tf32
        found["cudnn_benchmark"] = torch.backends.cudnn.benchmark
    return found


def commit(folder: Path) -> str | None:
    """The checked-out commit, with ``-dirty`` where files differ from it; None outside git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # no git here
        return None
    return done.stdout.strip() or None


def spread(values: Sequence[float], digits: int = 1) -> str:
    """``median (smallest to largest)``."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def peak_memory() -> int:
    """Bytes: the largest resident set of this process, by Linux.

    Not rusage's ``ru_maxrss``, which begins with that of the process that started this one.
    """
    return _bytes("/proc/self/status", "VmHWM")


def resident_memory() -> int:
    """Bytes: the resident set of this process now, by Linux."""
    return _bytes("/proc/self/status", "VmRSS")


def free_memory() -> int:
    """Bytes that processes can still take, by Linux."""
    return _bytes("/proc/meminfo", "MemAvailable")


def _bytes(path: str, name: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {name} in {path}")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
