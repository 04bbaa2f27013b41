"""What can go wrong around the console's accounts, its audit trail and reviews.

AccessError (a ParleyError)
├── BadName          a name that no account can have
├── BadPassword      a password that is not taken
├── NameTaken        another account has this name
├── NotFound         no such account, session, token or link, or it has expired
├── LastAdmin        without this account nobody could manage the others
├── AlreadyAdmin     the first admin's link was used, or another admin exists
└── AlreadyTied      this login at the provider belongs to another account

ReviewError (a ParleyError)
├── BadReview         what was handed in does not fit its verdict
├── NotAllowed        the item's state does not allow this step
├── NotYours          somebody else has claimed the item, or the claim ran out
├── ChangedMeanwhile  the item is not any more as it was read
└── NoSuchItem        there is no such item
"""

from __future__ import annotations

from core.chat.errors import ParleyError


class AccessError(ParleyError):
    """A change that is refused; the text is for whoever asked for it."""


class BadName(AccessError):
    """A name that no account can have."""


class BadPassword(AccessError):
    """A password that is not taken."""


class NameTaken(AccessError):
    """Another account has this name."""


class NotFound(AccessError):
    """What was asked for is not there, or not any more."""


class LastAdmin(AccessError):
    """The only active admin may not be taken away."""


class AlreadyAdmin(AccessError):
    """The first admin exists already."""


class AlreadyTied(AccessError):
    """The login at the provider belongs to another account."""


class ReviewError(ParleyError):
    """A step in review that is refused; the text is for whoever asked for it."""


class BadReview(ReviewError):
    """What was handed in does not fit its verdict, or is too long."""


class NotAllowed(ReviewError):
    """The item's state does not allow this step."""


class NotYours(ReviewError):
    """Somebody else has claimed the item, or the claim ran out."""


class ChangedMeanwhile(ReviewError):
    """The item is not any more as it was when it was read."""


class NoSuchItem(ReviewError):
    """There is no such item, or it was erased."""
