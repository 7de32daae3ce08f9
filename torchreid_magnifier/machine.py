"""The share of the machine that this process may use: cores, and memory that processes share."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_SHARED_MEMORY = Path("/dev/shm")


def cores() -> int:
    """Return how many cores this process may keep busy, at least 1.

    By its affinity (``taskset``) and the CPU quotas of its control groups (containers), which
    ``os.cpu_count`` knows nothing of.
    """
    quotas = (max(1, math.ceil(quota)) for quota in _quotas())
    return min([visible_cores(), *quotas])


def visible_cores() -> int:
    """Return how many cores this process may run on, whatever its quota."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS, not on Windows
        return os.cpu_count() or 1


def shared_memory() -> int | None:
    """Return the free bytes where PyTorch's workers hand batches over; None: no such place."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except (AttributeError, OSError):
        return None
    return found.f_bavail * found.f_frsize


def _quotas() -> Iterator[float]:
    """Give the CPU quotas of this process's control groups, in cores."""
    for folder in _cgroup_folders():
        try:  # version 2: "max 100000", or "150000 100000"
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            try:  # version 1; -1 is no quota
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            except OSError:
                continue
        try:
            cores = int(quota) / int(period)
        except ValueError:  # max
            continue
        if cores > 0:
            yield cores


def _cgroup_folders() -> Iterator[Path]:
    """Give the folders of this process's control groups, and of those around them."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:  # "0::/path", and in version 1 "4:cpu,cpuacct:/path"
        _, _, entry = line.partition(":")
        controllers, _, path = entry.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUPS / controllers if controllers else _CGROUPS
        folder = root / path.strip("/")  # a container may see its own group as the root
        yield from (folder, *folder.parents)[: len(Path(path).parts)]
        yield root
