"""Starts the `stedi` command; a signal ends it with a sentence even while it loads."""

from stedi_assets.cli.interrupts import end_at_once


def main() -> None:
    """Load the command and run it."""
    end_at_once()
    from stedi_assets.cli.main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
