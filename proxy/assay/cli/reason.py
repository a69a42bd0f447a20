"""Option ``--reason`` of commands: the reason that a person gives for the log and the audit trail."""

from __future__ import annotations

from typing import Final

from assay.errors import ConfigurationError

_MAX_REASON_CHARACTERS: Final = 1000


def check_reason(text: str) -> str:
    """Return a reason without blanks around it.

    Raises:
        ConfigurationError: it is empty, too long or not one printable line.
    """
    reason = text.strip()
    if not reason or not reason.isprintable() or len(reason) > _MAX_REASON_CHARACTERS:
        raise ConfigurationError(
            f"--reason: expected a printable line of at most {_MAX_REASON_CHARACTERS} characters, found {reason!r:.100}"
        )
    return reason
