"""SAN, the Semantics Aligning Network: encoder, decoder, and their assembly."""

from .san import SAN, SAN_MODELS

__all__ = ["SAN", "SAN_MODELS"]
