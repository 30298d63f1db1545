"""One person, one spelling: how an e-mail is spelled wherever people are compared."""

import unicodedata

SEPARATOR = "\x1f"
"""Stands between the persons of a quarantined object that names several."""


def person(email: str) -> str | None:
    """The person an e-mail stands for; None if no letter is left.

    Unicode NFC, without format characters (zero width and the like), without white space at
    either end, lower-case. Worked out once, where a landing file is read; nothing after it
    normalises again.
    """
    if email.isascii() and email.isprintable():  # most are, and this takes a tenth of the time
        return email.strip().lower() or None
    visible = "".join(sign for sign in email if not _is_invisible(sign))
    # Lower-casing may leave letters that compose, so the normal form comes last.
    lower = unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).lower())
    return lower.strip() or None


def _is_invisible(sign: str) -> bool:
    return unicodedata.category(sign) == "Cf" or sign == SEPARATOR
