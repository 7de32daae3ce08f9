"""Several processes that do one piece of work, each a share of it.

A launcher starts them (``launch``), and ``Processes`` is what one of them knows of the others. In
training ``training.engine`` puts the shares of a batch together, so that a step is that of one
process with the whole batch; ``inference.extract`` has each embed other pictures. Without a
launcher nothing here runs, and accelerate is not imported.
"""
