"""Starting: whether a launcher started this process as one of several, and joining the others."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta

from .processes import ALONE, Processes

# The others wait while one reads data, ranks a gallery or writes; processes that have ended are
# found by the launcher, long before.
_PATIENCE = timedelta(hours=2)

# What `accelerate config` may ask for and this package does not do: variable, harmless values.
_UNSUPPORTED = (
    ("ACCELERATE_MIXED_PRECISION", ("no",), "mixed precision"),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", ("1",), "gradient accumulation"),
    ("ACCELERATE_DYNAMO_BACKEND", ("no",), "torch.compile"),
    ("ACCELERATE_USE_DEEPSPEED", ("false",), "DeepSpeed"),
    ("ACCELERATE_USE_FSDP", ("false",), "FSDP"),
    ("ACCELERATE_USE_MEGATRON_LM", ("false",), "Megatron-LM"),
)


class LaunchError(RuntimeError):
    """The processes cannot work together; the text says why and what to do."""


def launched() -> bool:
    """Whether ``accelerate launch`` or ``torchrun`` started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def told_once() -> Iterator[None]:
    """Within, only the first process of each machine prints: for what all of them find alike."""
    with ExitStack() as stack:
        if launched() and os.environ.get("LOCAL_RANK", "0") != "0":
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


@contextmanager
def joined(use_gpu: bool) -> Iterator[Processes]:
    """The processes that a launcher started, in touch with each other; else this one alone.

    What all but the main process print goes nowhere; errors they raise are theirs to tell.

    Args:
        use_gpu: each process takes one CUDA device; else they compute on CPUs.

    Raises:
        LaunchError: if accelerate is missing, or was asked for what is not done here.
    """
    if not launched():
        yield ALONE
        return
    for variable, harmless, what in _UNSUPPORTED:
        if (found := os.environ.get(variable, harmless[0])).lower() not in harmless:
            raise LaunchError(
                f"the launcher was told to use {what} ({variable}={found}), which this command "
                "does not: run 'accelerate config' again, or turn it off on its command line"
            )
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise LaunchError(
            "several processes need Hugging Face accelerate: "
            'pip install "torchreid-magnifier[distributed]"'
        ) from error
    state = PartialState(cpu=not use_gpu, timeout=_PATIENCE)
    try:
        if use_gpu and state.device.type != "cuda":
            raise LaunchError(
                "use_gpu is True, but the processes were launched on CPUs: give 'use_gpu False', "
                "or launch them without --cpu"
            )
        with (
            open(os.devnull, "w") as nowhere,
            redirect_stdout(sys.stdout if state.is_main_process else nowhere),
        ):
            yield Processes(state.process_index, state.num_processes, state.is_local_main_process)
    finally:
        state.destroy_process_group()
