"""Starting: whether a launcher started this process as one of several, and joining the others."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ..errors import MagnifierError, needing
from ..files import nowhere
from .processes import ALONE, Processes

# The others wait while one reads data, ranks a gallery or writes; processes that have ended are
# found by the launcher, long before.
_PATIENCE = timedelta(hours=2)

_PRINTING = 10  # seconds that a process has to print what is wrong

# What `accelerate config` may ask for and this package does not do: variable, harmless value.
_UNSUPPORTED = (
    ("ACCELERATE_MIXED_PRECISION", "no", "mixed precision"),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1", "gradient accumulation"),
    ("ACCELERATE_DYNAMO_BACKEND", "no", "torch.compile"),
    ("ACCELERATE_USE_DEEPSPEED", "false", "DeepSpeed"),
    ("ACCELERATE_USE_FSDP", "false", "FSDP"),
    ("ACCELERATE_USE_MEGATRON_LM", "false", "Megatron-LM"),
)


class LaunchError(MagnifierError, RuntimeError):
    """The processes cannot work together; the text says why and what to do."""


def launched() -> bool:
    """Return whether a launcher (accelerate, torchrun) started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def leave_last() -> None:
    """Wait for the launcher, which ends all processes when one has: others may still print."""
    time.sleep(_PRINTING)


@contextmanager
def printing_once() -> Iterator[None]:
    """Let only the first process of each machine print: for what all of them find alike."""
    if not launched() or os.environ.get("LOCAL_RANK", "0") == "0":
        yield
        return
    with nowhere() as silent, redirect_stdout(silent), redirect_stderr(silent):
        try:
            yield
        except BaseException:
            leave_last()
            raise


@contextmanager
def joined(use_gpu: bool) -> Iterator[Processes]:
    """Give the processes that a launcher started, in touch with each other; else this one alone.

    What all but the main process print goes nowhere; errors they raise are theirs to print.

    Args:
        use_gpu: each process takes one CUDA device; else they compute on CPUs.

    Raises:
        LaunchError: if accelerate is missing, or was asked for what is not done here.
    """
    if not launched():
        yield ALONE
        return
    with printing_once():
        state = _join(use_gpu)
    with nowhere() as silent:
        with redirect_stdout(sys.stdout if state.is_main_process else silent):
            yield Processes(state.process_index, state.num_processes, state.is_local_main_process)
    dist.destroy_process_group()  # after a failure it might wait for those that have ended


def joined_on(device: str) -> AbstractContextManager[Processes]:
    """Give the processes that a launcher started, each with a GPU of its own if it is to be one.

    Raises:
        LaunchError: one device for all of them; else as ``joined``.
    """
    kind, _, number = device.partition(":")
    if number and launched():
        with printing_once():
            raise LaunchError(f"--device {device}: each process takes a GPU: give --device {kind}")
    return joined(kind == "cuda")


def _join(use_gpu: bool) -> Any:
    """Return accelerate's ``PartialState``."""
    for variable, harmless, what in _UNSUPPORTED:
        if (found := os.environ.get(variable, harmless)).lower() != harmless:
            raise LaunchError(
                f"the launcher was asked to use {what} ({variable}={found}), which this command "
                "does not: run 'accelerate config' again, or turn it off on its command line"
            )
    with needing("several processes need Hugging Face accelerate", "distributed", LaunchError):
        from accelerate import PartialState
    try:
        state = PartialState(cpu=not use_gpu, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise LaunchError(f"the processes do not find each other: {error}") from error
    if use_gpu and state.device.type != "cuda":
        raise LaunchError(
            "GPUs are asked for, but the processes were launched on CPUs: give 'use_gpu False' "
            "(train) or '--device cpu', or launch them without --cpu"
        )
    return state
