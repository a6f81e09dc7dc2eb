"""How this installation sends mail, from its settings."""

from pathlib import Path
from typing import TYPE_CHECKING

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.secretfiles import read_secret_file
from novapulse.core.settings import Loaded
from novapulse.mail.compose import Sender
from novapulse.mail.mailer import Mailer
from novapulse.mail.spool import Spool
from novapulse.processes import places

if TYPE_CHECKING:
    from novapulse.mail.smtp import SmtpServer


def mailer(loaded: Loaded) -> Mailer:
    """Raises ConfigurationInvalid when the password or the certificates can not be read."""
    return Mailer(
        spool=Spool(places.mail_spool(loaded)),
        server=smtp_server(loaded),
        sender=Sender.parse(loaded.settings.mail.sender),
    )


def smtp_server(loaded: Loaded) -> "SmtpServer | None":
    """The configured server, not yet connected; None where there is none."""
    settings = loaded.settings.mail
    if not settings.host:
        return None
    from novapulse.mail.smtp import SmtpServer  # with its library only where it is used

    return SmtpServer(settings, password=_password(settings.password_file))


def _password(path: str) -> str:
    if not path:
        return ""
    try:
        return read_secret_file(Path(path)).decode().strip("\r\n")
    except FileNotFoundError as error:
        raise ConfigurationInvalid(
            f"There is no file {path}", where="mail.password_file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"{path} is not UTF-8", where="mail.password_file") from error
