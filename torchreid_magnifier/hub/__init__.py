"""Trained networks by name, from files, folders and the Hugging Face Hub: their cards and weights.

Nothing here knows a model: networks are built from cards where they are opened.
"""

from .card import Card, Result, WeightsError, entries, find
from .download import fetch

__all__ = ["Card", "Result", "WeightsError", "entries", "fetch", "find"]
