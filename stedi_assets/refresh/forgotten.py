"""The list of forgotten people, of whom nothing that lands is taken into a table.

Nobody who was forgotten can be named, so a list keeps keyed hashes: of people, each with the time
of the request, and of devices that were theirs. It lies in the landing zone with its key, which is
its own: the key of `subject_id` may be replaced, and then nobody on the list could be recognised.
Whoever may read the landing zone can tell of a given address whether it is on the list.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from stedi_assets.lakehouse.faults import damaged
from stedi_assets.lakehouse.landing.values import DAY
from stedi_assets.lakehouse.storage.storage import Storage


def folder_of(storage: Storage) -> str:
    """Where the list is: in the landing zone."""
    return f"{storage.root}/warehouse/landing/forgotten"


def _place(storage: Storage) -> str:
    return f"{folder_of(storage)}/people.json"


@dataclass(frozen=True)
class Forgotten:
    """The list.

    Attributes:
        key: What its hashes are made with.
        people: When it was asked to forget each, in epoch milliseconds, by hash.
        devices: Until when readings are theirs, by hash: of a device that was somebody's alone,
            and of a serial number that somebody alone claimed.
        readings: Of devices that others used, too: by the hash of the device, hashes of the times
            of readings that were theirs.
    """

    key: str = field(repr=False)
    people: Mapping[str, int] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    readings: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, storage: Storage) -> "Forgotten":
        """The list as it is; an empty one, with a new key, where there is none."""
        file = storage.io.new_input(_place(storage))
        if not file.exists():
            return cls(secrets.token_hex(32))
        with damaged(file.location), file.open() as opened:
            said = json.loads(opened.read())
            readings = {device: frozenset(times) for device, times in said["readings"].items()}
            return cls(said["key"], said["people"], said["devices"], readings)

    def write(self, storage: Storage) -> None:
        """Let this be the list."""
        readings = {device: sorted(times) for device, times in self.readings.items()}
        said = {
            "key": self.key,
            "people": self.people,
            "devices": self.devices,
            "readings": readings,
        }
        with storage.replacing(_place(storage)) as file:
            file.write(json.dumps(said, indent=1).encode())

    def digest(self, kind: str, value: object) -> str:
        """Keyed hash of a `person`, `device`, `claim` or the `time` of a reading, 128 bits."""
        said = f"{kind}\x1f{value}".encode()
        return hmac.digest(bytes.fromhex(self.key), said, hashlib.sha256).hex()[:32]

    def with_(
        self,
        people: Mapping[str, int],
        devices: Mapping[str, int],
        claims: Mapping[str, int],
        readings: Mapping[str, Iterable[int]],
    ) -> "Forgotten":
        """The list with these people, and with devices and single readings that were theirs.

        A clock may be a day ahead, so readings of up to a day after the request count as theirs.

        Args:
            people: Each in the one spelling of the e-mail, with the time when it was asked for, in
                epoch milliseconds.
            devices: Serial numbers of devices that were theirs alone, with that time.
            claims: Serial numbers that they alone claimed, with that time.
            readings: Times of readings of other devices, by serial number.
        """
        times = {
            self.digest("device", serial): {self.digest("time", time) for time in times}
            for serial, times in readings.items()
        }
        return replace(
            self,
            people={**self.people, **{self.digest("person", p): at for p, at in people.items()}},
            devices={
                **self.devices,
                **{self.digest("device", one): at for one, at in until(devices).items()},
                **{self.digest("claim", one): at for one, at in until(claims).items()},
            },
            readings={
                device: self.readings.get(device, frozenset()) | times.get(device, set())
                for device in {*self.readings, *times}
            },
        )

    def asked_at(self, person: str | None) -> int | None:
        """When it was asked to forget a person; None if it was not."""
        return None if person is None else self.people.get(self.digest("person", person))


def until(asked: Mapping[str, int]) -> dict[str, int]:
    """Up to when readings with each serial number are theirs: a clock may be a day ahead."""
    return {serial: at + DAY for serial, at in asked.items()}
