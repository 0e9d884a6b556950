"""`python -m local_runtime.daemon OPTIONS [FD]`: leave the starter's session, then become the daemon.

Forks before anything heavy is imported: the starter has no child to wait for, and a terminal or an editor that closes does
not take the daemon with it. `OPTIONS` is JSON; on `FD` the starter hears `listening`, `busy` or nothing.
"""

import os
import sys


def main() -> None:
    """Fork, detach and serve."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    from local_runtime.daemon.process import run  # noqa: PLC0415 - only the detached child needs it

    run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)


if __name__ == "__main__":
    main()
