"""Where the `stedi` command begins: Ctrl-C ends it in a sentence while it is still being loaded."""

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
