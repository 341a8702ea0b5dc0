"""`python -m rtlab`, and the command `rtlab`: the original lab's `--step` lines included."""

import gc
import signal
import sys


def main() -> int:
    """Run this process's command line; an interrupt is no traceback, wherever it meets the process.

    Returns:
        The exit status.
    """
    try:
        from rtlab.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:  # while that was imported
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is the interpreter's own end
        gc.freeze()  # which would look for cycles in all that torch has brought (`rtlab.cycles`)


if __name__ == "__main__":
    sys.exit(main())
