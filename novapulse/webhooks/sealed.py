"""Where webhooks keep what is sealed: their signing secrets."""

from collections.abc import Iterator

from novapulse.core.crypto import Place
from novapulse.core.mongo import Document
from novapulse.core.sealed import SealedField, SealedSpot
from novapulse.webhooks.store import WEBHOOKS


def _spots(row: Document) -> Iterator[SealedSpot]:
    for number, secret in enumerate(row.get("secrets", ())):
        place = Place(WEBHOOKS, row["_id"], f"secrets.{secret['id']}", row["companyId"])
        yield SealedSpot(f"secrets.{number}.sealed", secret["sealed"], place)


SEALED = (SealedField(WEBHOOKS, ("companyId", "secrets"), _spots),)
