"""`python -m hoam_plugin` is the command `hoam`."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line as a process of its own, in which Ctrl-C is heard of from here on."""
    code = None
    try:
        from hoam_plugin._internal import ending

        with ending.by_signals() as ended:
            try:
                from hoam_plugin.cli import main as run

                code = run()
            except BaseException:
                if ended.number is None:
                    raise
                code = _interrupted(ended.exit_code)
            if ended.number is not None:
                ended.leave(code)
        # All is done; how Python clears up is of no interest to who interrupts it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        # Before signals were taken, or after they were given back.
        if code is None:
            code = _interrupted(128 + signal.SIGINT)
    sys.exit(code)


def _interrupted(code: int) -> int:
    print("hoam: interrupted: before any work had begun", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
