"""Where webhooks keep what is sealed: their signing secrets and the values of their headers."""

from collections.abc import Iterator

from novapulse.core.mongo import Document
from novapulse.core.sealed import SealedField, SealedSpot
from novapulse.subscriptions import headers, secrets
from novapulse.subscriptions.store import WEBHOOKS


def _spots(row: Document) -> Iterator[SealedSpot]:
    for number, secret in enumerate(row.get("secrets", ())):
        place = secrets.place(row["_id"], secret["id"], row["companyId"])
        yield SealedSpot(f"secrets.{number}.sealed", secret["sealed"], place)
    if row.get("sealedHeaders"):
        place = headers.place(row["_id"], row["companyId"])
        yield SealedSpot("sealedHeaders", row["sealedHeaders"], place)


SEALED = (SealedField(WEBHOOKS, ("companyId", "secrets", "sealedHeaders"), _spots),)
