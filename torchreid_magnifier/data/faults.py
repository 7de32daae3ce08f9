"""How messages list the files that have a fault."""

from collections.abc import Sequence

_LISTED = 5  # faults of a kind that a message shows


def listed(what: str, faults: Sequence[str]) -> str:
    """Lines for several faults of a kind: their number, and the first of them."""
    lines = [f"{what}: {len(faults)}", *(f"  {fault}" for fault in faults[:_LISTED])]
    if len(faults) > _LISTED:
        lines.append(f"  ... and {len(faults) - _LISTED} more")
    return "\n".join(lines)
