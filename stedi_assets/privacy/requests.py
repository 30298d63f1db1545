"""Files of requests to forget people: so no address is in a shell's history or in a run."""

import os
from pathlib import Path

from stedi_assets.lakehouse.faults import LakehouseError


def read_requests(path: Path) -> list[str]:
    """The addresses in a file of this machine, one a line; blank lines are skipped.

    Nobody but its owner may read or write it: it says who wants to be forgotten, and whoever
    reaches the Dagster UI can name a file, but not make one like this.

    Raises:
        LakehouseError: Others can, or it cannot be read, or there is no address in it.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise LakehouseError("The file of requests is open to others: run chmod 600 on it.")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise LakehouseError(f"The file of requests cannot be read: {reason}.") from None
    emails = [line.strip() for line in lines if line.strip()]
    if not emails:
        raise LakehouseError("There is no address in the file of requests.")
    return emails
