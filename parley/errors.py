"""What keeps Parley from starting: one line for the operator, naming the setting and the remedy.

SetupError
├── SettingsError     a setting is missing, half-set or malformed
└── NotRunning        a command needs a running Parley and found none
"""

from __future__ import annotations

# sysexits.h EX_CONFIG: the supervisor does not restart a part that ends with it, for it would fail again.
EXIT_SETUP = 78


class SetupError(Exception):
    """Parley cannot start, or cannot go on, as it is set up."""


class SettingsError(SetupError):
    """One or several settings are wrong; a line each."""


class NotRunning(SetupError):
    """Nothing answers where a running Parley was expected."""
