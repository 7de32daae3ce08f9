"""SAN, the Semantics Aligning Network: encoder, decoder, and their assembly."""

from .model import SAN, SAN_MODELS

__all__ = ["SAN", "SAN_MODELS"]
