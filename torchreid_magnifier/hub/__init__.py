"""Trained networks by name, from files, folders and the Hugging Face Hub: their cards and weights.

Nothing here knows a model: networks are built from cards where they are opened.
"""

from .card import Card, Result, WeightsError, entries, find
from .download import fetch
from .zoo import zoo

DEFAULT = "magnifiernet_osnet_x0_25_market1501"
"""The network that ships with the package, and serves where none is named."""

__all__ = ["DEFAULT", "Card", "Result", "WeightsError", "entries", "fetch", "find", "zoo"]
