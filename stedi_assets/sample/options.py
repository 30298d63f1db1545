"""What a sample holds."""

from dataclasses import dataclass

from stedi_assets.sample.names import NAME_COUNT

SOURCES: tuple[str, ...] = ("customer", "accelerometer", "step_trainer")

STEPS = 30
"""Step trainer readings of a device."""

PHONE_READINGS = 3
"""Accelerometer readings at the millisecond of each step trainer reading."""


@dataclass(frozen=True)
class Sample:
    """What a sample holds.

    Every device has 30 step trainer readings, and its owner's phone three accelerometer readings at
    each of those milliseconds. One customer in fifty uses a second device that no record mentions,
    as many never used theirs. One session starts per second, so now and then two people share a
    millisecond, and a join on time alone pairs one person's device with another's phone.

    Attributes:
        customers: Number of customers, each with an e-mail of their own.
        consent_share: Share of the customers whose latest record consents to research. It is met
            exactly, to the nearest customer. One in five of them consents in the midst of their
            first session, the others within an hour of registering.
        files: Clean files per source. Readings are spread over them by time.
        seed: Start of all randomness.
        shared_serials: The fulfilment defect: customer records claim one of the same 30 serial
            numbers, none of which a device has, and the devices' own are claimed by nobody.
        changing_consent: A tenth of the customers has two to four records, spread over the files,
            of which every other one consents. Some spell the e-mail in another case or between
            blanks; some of those that end without consent carry the same dates on all records.
        malformed: Adds small files in every bad shape seen so far: re-delivered customer records
            and further readings of the sample's devices.
        late_readings: One time in twenty arrives in a later file than its own, separately for each
            source. Needs two files or more.
    """

    customers: int = 1_000
    consent_share: float = 0.5
    files: int = 4
    seed: int = 2023
    shared_serials: bool = False
    changing_consent: bool = False
    malformed: bool = False
    late_readings: bool = False

    def __post_init__(self) -> None:
        """Refuse options that no sample can meet.

        Raises:
            ValueError: An option is out of range.
        """
        if not 1 <= self.customers <= NAME_COUNT:
            raise ValueError(f"customers must be 1 to {NAME_COUNT:,}, not {self.customers:,}.")
        if not 0 <= self.consent_share <= 1:
            raise ValueError(f"consent_share must be between 0 and 1, not {self.consent_share}.")
        if self.files < 1:
            raise ValueError(f"files must be 1 or more, not {self.files}.")
        if self.late_readings and self.files == 1:
            raise ValueError("late_readings needs at least 2 files, one for readings to miss.")
