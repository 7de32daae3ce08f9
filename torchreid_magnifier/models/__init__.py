"""MagnifierNet: trunk, mask module, branches, and their assembly."""

from .magnifiernet import MODELS, MagnifierNet

__all__ = ["MODELS", "MagnifierNet"]
