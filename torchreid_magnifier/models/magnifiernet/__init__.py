"""MagnifierNet: one file a branch, their assembly, and the variants by name."""
