"""``python -m torchreid_magnifier``: the ``torchreid-magnifier`` command."""

import sys

from torchreid_magnifier.cli import main

if __name__ == "__main__":
    sys.exit(main())
