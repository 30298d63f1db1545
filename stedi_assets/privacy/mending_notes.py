"""Notes of what landing files are made without people, kept until the ledger says it.

Of a file that has another content than the ledger says, only these notes tell whether a command
that was killed wrote it, or somebody delivered it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

from stedi_assets.lakehouse.faults import damaged
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.refresh.forgotten import folder_of


@dataclass(frozen=True)
class Note:
    """What a landing file was before, and what it may be by now.

    Attributes:
        before: The digest that it had before anybody was taken out of it.
        after: Digests of what it was to be instead; an empty one where it was to be deleted.
    """

    path: str
    before: str
    after: tuple[str, ...] = ()


class Notes:
    """The notes of a lakehouse."""

    def __init__(self, storage: Storage) -> None:
        """Read what a command that was killed left."""
        self._storage = storage
        self._folder = f"{folder_of(storage)}/mending"
        self._notes: dict[str, Note] = {}
        for file in storage.files(self._folder):
            with damaged(file.location), storage.io.new_input(file.location).open() as opened:
                said = json.loads(opened.read())
            note = Note(said["path"], said["before"], tuple(said["after"]))
            self._notes[note.path] = note

    def is_written(self, path: str, digest: str) -> bool:
        """Whether a file with this content was written without people."""
        return path in self._notes and digest in self._notes[path].after

    def before(self, path: str, digest: str) -> str:
        """The digest of what somebody delivered, of a file that has this one."""
        return self._notes[path].before if self.is_written(path, digest) else digest

    def is_deleted(self, path: str) -> bool:
        """Whether a file that is not there was deleted as nobody else was in it."""
        return self.is_written(path, "")

    def add(self, path: str, digest: str, after: str) -> None:
        """Note what a file with a digest is to be, before it is; "" where it is to be deleted."""
        known = self._notes[path].after if self.is_written(path, digest) else ()
        note = Note(path, self.before(path, digest), (*known, after))
        with self._storage.replacing(self._place(path)) as file:
            file.write(json.dumps(asdict(note)).encode())
        self._notes[path] = note

    def erase(self) -> None:
        """Keep none: the ledgers say it."""
        for path in self._notes:
            self._storage.erase(self._place(path))
        self._notes = {}

    def _place(self, path: str) -> str:
        return f"{self._folder}/{hashlib.sha256(path.encode()).hexdigest()[:32]}.json"
