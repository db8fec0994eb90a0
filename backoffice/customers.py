"""The identity of customers: the rule by which two spellings of an e-mail address are one customer."""

import unicodedata


def identity(email: str) -> str:
    """Return the address by which a customer is stored, shown, mailed and searched: in lower case.

    Every app stores only this form, so that equal text means the same customer. Lower case, not `casefold`, which makes
    `ß` and `ss` equal: `faß.example` and `fass.example` are two domains.
    """
    return unicodedata.normalize("NFC", email.strip()).lower()
