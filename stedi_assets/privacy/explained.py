"""What each part of the copy of their data tells a person, who need know nothing of tables."""

from typing import Any

HEAD = (
    "This is a copy of all personal data about you in the data store of the STEDI Step Trainer. "
    "It is yours: keep it where nobody else can read it. Before each part, a text says what it is. "
    'Times named "at", "since", "earliest" and "latest" are in UTC. Numbers of 13 digits are '
    'times, too: milliseconds since 1 January 1970. "null" means that nothing is known.'
)

PARTS = {
    "person": "Your e-mail address as it is used to find what is yours: in small letters.",
    "at": "When this copy was made.",
    "subject_id": "The made-up name that stands for you in the data that researchers get, which "
    "has neither your name nor your address. In some older research data you have another one.",
    "emails": "Your e-mail address in each way it was written when it reached us.",
    "names": "Your name in each way it was written when it reached us.",
    "phones": "Your phone numbers that reached us.",
    "is_used": "Whether data of yours is in the research data as it is now (true or false).",
    "will_be_used": "Whether data of yours will be in it when it is next made, which happens when "
    "new data arrives and each night.",
    "suspended": "Whether your data is not used because the newest message about you could not be "
    "read (true or false).",
    "held": "Whether your data is kept and not used because that was asked for (true or false).",
    "why": "Why your data is used, or why it is not.",
    "forgotten_at": "When it was asked to delete your data, if it was.",
    "withdrawals": "Each time you were taken out of the data that is used: why, when the reason "
    "reached us (landed_at), when it took effect (took_effect_at), which sets of research data had "
    "data of yours then (training_sets), and when the last older copy with it was deleted "
    "(vacuumed_at).",
    "records": "What you told us about yourself, each time you registered or changed it: your "
    "details, and since when you agreed to share data for research, with the public and with "
    "friends. The latest one counts.",
    "devices": "Step Trainers with a serial number of yours: whether you told us of it, and how "
    "we know that it is yours (proof). If others gave us the same number, it says how many.",
    "readings": "The files in which measurements of yours reached us: how many there are in "
    "each, and from when to when. The measurements themselves come at the end.",
    "quarantine": "Messages about you that could not be read, and why. They are kept, not used. If "
    "one has an address of somebody else in it, its text is left out.",
    "landing_files": "In how many of the files that reached us there is something of yours.",
    "tables": "Where data of yours is stored. Each line is one version of one list: when it was "
    "made, whether it is in use (published) or an older version that is still kept, and how many "
    "lines of it are yours. Names in tags are those of sets of research data.",
    "accelerometer_landing": "Each measurement of your phone that reached us: when it was taken "
    "(timestamp), and how the phone moved in three directions (x, y, z).",
    "step_trainer_landing": "Each measurement of your Step Trainer that reached us: when it was "
    "taken (sensorreadingtime), and the distance of what was in front of it.",
}
"""By the name of each part."""


def explained(copy: dict[str, Any]) -> dict[str, Any]:
    """The copy with a text at its head, and one before each part."""
    parts = {"about this file": HEAD}
    for name, part in copy.items():
        parts |= {f"about {name}": PARTS[name], name: part}
    return parts
