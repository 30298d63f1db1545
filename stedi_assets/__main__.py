"""Starts the `stedi` command; a signal ends it with a sentence even while it loads."""

import atexit
import gc

from stedi_assets.cli.interrupts import end_at_once


def main() -> None:
    """Load the command and run it."""
    end_at_once()
    # Expressions and modules are millions of small objects that stay: to look through them for
    # garbage each time that 700 more were made takes a command several percent of its time.
    gc.set_threshold(50_000, 20, 50)
    # Python would do so once more at the end, for half a second.
    atexit.register(gc.freeze)
    from stedi_assets.cli.main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
