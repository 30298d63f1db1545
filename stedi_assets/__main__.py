"""Starts the `stedi` command; Ctrl-C ends it with a sentence even while it loads."""

import sys


def main() -> None:
    """Load the command and run it."""
    try:
        from stedi_assets.cli.main import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing is lost: refresh again.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
