"""Training and testing by several processes, each with a share of every batch.

A launcher starts them (``launch``), ``Processes`` is what one of them knows of the others, and
``engine.Engine`` puts the shares together, so that a step is that of one process with
the whole batch. Without a launcher nothing here runs, and accelerate is not imported.
"""
