"""`python -m rtlab`: the command line, the original lab's `--step` lines included."""

import sys

from rtlab.cli import main

sys.exit(main())
