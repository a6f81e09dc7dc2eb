"""How handing a mail over can end, but for well."""


class Deferred(Exception):
    """It did not work now; another attempt may."""


class Waited(Exception):
    """The attempt before this one broke the connection; this one was not made at all."""


class Refused(Exception):
    """The server said no for good; `is_about_recipient` when it knows no such mailbox."""

    def __init__(self, reason: str, *, is_about_recipient: bool = False) -> None:
        super().__init__(reason)
        self.is_about_recipient = is_about_recipient
