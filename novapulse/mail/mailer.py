"""What a consumer of mails keeps: the sender, and where mails go."""

from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import TYPE_CHECKING

from novapulse.mail.compose import Sender
from novapulse.mail.spool import Spool

if TYPE_CHECKING:
    from novapulse.mail.smtp import SmtpServer


@dataclass(frozen=True, slots=True)
class Mailer:
    """Without a `server` mails go to the spool."""

    spool: Spool
    server: "SmtpServer | None" = None
    sender: Sender = field(default_factory=Sender)

    def put(self, message_id: str, mail: EmailMessage) -> None:
        self.spool.put(message_id, mail)

    async def aclose(self) -> None:
        if self.server is not None:
            await self.server.aclose()
