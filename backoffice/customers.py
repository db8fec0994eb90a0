"""Who is who: the one rule by which two spellings of an e-mail address are one customer."""

import unicodedata


def identity(email: str) -> str:
    """Return the address by which a customer is stored, shown, written to and looked for: in small letters.

    Every app stores this form only, so that equality of text is identity of customers. Small letters, not `casefold`:
    that makes `ß` and `ss` one, and `faß.example` and `fass.example` are two domains.
    """
    return unicodedata.normalize("NFC", email.strip()).lower()
