"""Invites: the document, the commands on it, its events and errors."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from novapulse.core import errors, paging
from novapulse.core.access import Role
from novapulse.core.events import Event, event
from novapulse.identity.model import Command, Email, Name, Password
from novapulse.people.model import CompanyRole, Cursor, Limit


class AlreadyMember(errors.Conflict):
    code = "already_member"
    title = "This address belongs to a member of the company already"


class InvitePending(errors.Conflict):
    code = "invite_pending"
    title = "This address has an open invite; send that one again"


class InviteGone(errors.Gone):
    code = "invite_gone"
    title = "This invite was used, withdrawn or has expired"


class InviteSettled(errors.Conflict):
    code = "invite_settled"
    title = "This invite was used or withdrawn already"


class InviteStatus(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    EXPIRED = "expired"
    REVOKED = "revoked"


class NewInvite(Command, frozen=True):
    email: Email
    role: CompanyRole
    expires_in_days: Annotated[int, msgspec.Meta(ge=1, le=30)] = 7


class InviteQuery(Command, frozen=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    status: InviteStatus | None = None


class AcceptInvite(Command, frozen=True):
    name: Name
    password: Password


class Invite(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An invite as the company sees it; its token is shown by `SentInvite` only."""

    id: str
    email: str
    role: Role
    status: InviteStatus = InviteStatus.PENDING
    expires_in_days: int
    expires_at: datetime
    created_by: str
    accepted_by: str | None = None
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def is_open(self, now: datetime) -> bool:
        return self.status is InviteStatus.PENDING and now < self.expires_at

    def settled(self, status: InviteStatus, *, at: datetime, by: str | None = None) -> "Invite":
        return msgspec.structs.replace(
            self, status=status, accepted_by=by, updated_at=at, version=self.version + 1
        )


class SentInvite(Invite, frozen=True, kw_only=True, rename="camel"):
    """The one answer with the link."""

    link: str


class Invitation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an invite's link shows to whoever holds it."""

    email: str
    role: Role
    company_name: str
    expires_at: datetime


@event("invite.created")
class InviteCreated(Event, frozen=True, kw_only=True):
    invite: Invite


@event("invite.resent")
class InviteResent(Event, frozen=True, kw_only=True):
    invite: Invite


@event("invite.accepted")
class InviteAccepted(Event, frozen=True, kw_only=True):
    invite: Invite


@event("invite.revoked")
class InviteRevoked(Event, frozen=True, kw_only=True):
    invite: Invite


@event("invite.expired")
class InviteExpired(Event, frozen=True, kw_only=True):
    invite: Invite
