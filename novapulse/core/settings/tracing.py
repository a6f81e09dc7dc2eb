"""The section of traces."""

from typing import Annotated

from novapulse.core.settings.addresses import check_http_url
from novapulse.core.settings.declare import Key, Reload, Section


class Tracing(Section, frozen=True, kw_only=True):
    endpoint: Annotated[
        str,
        Key(
            help="URL of an OTLP/HTTP collector, such as http://localhost:4318; "
            "empty traces nothing.",
            reload=Reload.BOTH,
            check=check_http_url,
        ),
    ] = ""
    ratio: Annotated[
        float,
        Key(
            help="Share of the requests that are traced, unless their traceparent decides.",
            reload=Reload.BOTH,
            minimum=0,
            maximum=1,
        ),
    ] = 1.0
    service_name: Annotated[
        str,
        Key(
            help="The program's name in traces.",
            reload=Reload.BOTH,
        ),
    ] = "novapulse"
