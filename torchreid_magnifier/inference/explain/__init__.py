"""Explanations: what networks look at, and why they find what they find.

:mod:`.maps` has a network's answers as maps and numbers, :mod:`.rankings` what it finds in a
dataset, and :mod:`.sheets` draws both.
"""
