"""What the benchmarks share, and the parts of ``speed.py``."""

import warnings

# torchreid says so at every import; nothing here evaluates.
warnings.filterwarnings("ignore", message="Cython evaluation")
