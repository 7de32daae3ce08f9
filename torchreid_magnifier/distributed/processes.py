"""One of several processes: what it knows of the others, and how they decide together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


class FailedElsewhere(Exception):
    """Another process has failed, and says so itself."""


@dataclass(frozen=True)
class Processes:
    """This process among those that work together.

    Every method is called by all of them alike; alone they cost nothing.

    Attributes:
        rank: of this process, 0..count - 1; the process of rank 0 is the main one.
        count: of processes, on all machines.
        first_here: whether it is the first of its machine.
    """

    rank: int
    count: int
    first_here: bool

    @property
    def is_main(self) -> bool:
        """Return whether this process prints and writes."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return every process's value (anything that pickles), by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def together(self, action: Callable[[], T], in_turn: bool = False) -> T:
        """Return what ``action`` returns to this process, once it has succeeded in all of them.

        Args:
            action: must not wait for other processes.
            in_turn: the first process of each machine acts before its others: it may write
                what they read.

        Raises:
            Exception: what ``action`` raised here; in one process only.
            FailedElsewhere: if that process is another one.
        """
        if self.count == 1:
            return action()
        result: Any = None
        error: Exception | None = None
        for turn in (True, False) if in_turn else (self.first_here,):
            if turn == self.first_here:
                try:
                    result = action()
                except Exception as caught:  # raised below, when the others know
                    error = caught
            failed = self.gather(error is not None)
            if any(failed):
                if error is not None and failed.index(True) == self.rank:
                    raise error
                raise FailedElsewhere
        return result  # type: ignore[no-any-return]

    def from_main(self, action: Callable[[], T]) -> T:
        """Return what ``action`` returns to the main process, the only one that it runs in.

        Raises:
            Exception: what ``action`` raised, in the main process.
            FailedElsewhere: in the others then.
        """
        result = self.together(action if self.is_main else lambda: None)
        if self.count == 1:
            return result  # type: ignore[return-value]
        shared = [result]
        dist.broadcast_object_list(shared)
        return shared[0]  # type: ignore[return-value]


ALONE = Processes(rank=0, count=1, first_here=True)
