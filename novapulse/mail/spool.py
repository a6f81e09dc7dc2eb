"""The spool: where messages go while no mail server is configured. One file each, 0600."""

import os
import re
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import SMTP
from pathlib import Path

from novapulse.core.errors import NotFound
from novapulse.mail.model import SpooledMessage

_NAME = re.compile(r"job_[0-9a-z]{26}")


class Spool:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, message_id: str, mail: EmailMessage) -> Path:
        """Write the mail, or the same file again when its job is repeated."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{message_id}.eml"
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(mail.as_bytes(policy=SMTP))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return path

    def list(self) -> list[SpooledMessage]:
        """Newest first."""
        found = sorted(self._directory.glob("job_*.eml"), reverse=True)
        return [_summary(path) for path in found]

    def read(self, message_id: str) -> str:
        """The whole message; raises NotFound."""
        path = self._directory / f"{message_id}.eml"
        if not _NAME.fullmatch(message_id) or not path.exists():
            raise NotFound(f"There is no message {message_id!r} in the spool")
        return path.read_text(encoding="utf-8", errors="replace")


def _summary(path: Path) -> SpooledMessage:
    with path.open("rb") as file:
        headers = BytesHeaderParser(policy=SMTP).parse(file)
    return SpooledMessage(
        id=path.stem, to=headers["To"], subject=headers["Subject"], at=headers["X-NovaPulse-At"]
    )
