"""Certificates: what was done when people were forgotten, without saying who they were.

Each names the SHA-256 of the one before it: who keeps the newest elsewhere, too, notices where an
earlier one was changed or taken out.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.privacy.scan import Scanned

_NAME = re.compile(r"/(\d+)\.json$")


@dataclass(frozen=True)
class Certificate:
    """What was done, in counts.

    Attributes:
        people: How many people were forgotten.
        rows: Rows of theirs that each table had when the command began.
        snapshots: Older states and candidates that were deleted.
        files: Data files that were deleted.
        training_sets: Tags of training sets that were made anew without them.
        unknown_training_sets: Tags of sets made under another key: nobody can tell whom they hold.
        landing_files_left: Landing files that were taken in and hold them; None if it was asked to
            take them out of these, too.
        landing_files_written: Landing files that were written anew without them.
        landing_files_deleted: Landing files in which nothing else was.
        older_versions_deleted: What other landing files were before, where the storage kept that.
        not_searched_for: Names, phones and serial numbers that other people have, too, or that are
            too short to be searched for.
        looked_at: What the search after it looked at and found.
        number: Which certificate of the lakehouse it is, from 1 on.
        finished_at: When, in UTC.
        previous: SHA-256 of the file with the certificate before it; None if it is the first.
    """

    people: int
    rows: Mapping[str, int]
    snapshots: int
    files: int
    training_sets: list[str]
    unknown_training_sets: list[str]
    landing_files_left: int | None
    not_searched_for: int
    looked_at: Scanned
    landing_files_written: int = 0
    landing_files_deleted: int = 0
    older_versions_deleted: int = 0
    number: int = 0
    finished_at: str = ""
    previous: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing of theirs was found, and nothing could not be looked into."""
        return not (self.looked_at.found or self.looked_at.unreadable or self.unknown_training_sets)

    def text(self) -> str:
        """The certificate as it is kept: of what was found, how many files, not their names."""
        found = self.looked_at
        said = asdict(self) | {
            "complete": self.is_complete,
            "looked_at": {
                "files": found.files,
                "bytes": found.size,
                "not_decoded": len(found.unreadable),
                "with_data_of_theirs": len(found.found),
            },
        }
        return json.dumps(said, indent=1)


def folder_of(storage: Storage) -> str:
    """Where certificates are."""
    return f"{storage.root}/certificates"


def certify(storage: Storage, certificate: Certificate) -> Certificate:
    """Keep a certificate, chained to the one before it; returns it as it is kept."""
    names = (file.location for file in storage.files(folder_of(storage)))
    known = {int(match[1]): name for name in names if (match := _NAME.search(name))}
    last, previous = max(known, default=0), None
    if last:
        with storage.io.new_input(known[last]).open() as file:
            previous = hashlib.sha256(file.read()).hexdigest()
    numbered = replace(
        certificate,
        number=last + 1,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        previous=previous,
    )
    with storage.replacing(place_of(storage, numbered)) as file:
        file.write(numbered.text().encode())
    return numbered


def place_of(storage: Storage, certificate: Certificate) -> str:
    """The file of a certificate."""
    return f"{folder_of(storage)}/{certificate.number:06}.json"
