"""What people may be called and sign in with."""

import json
from typing import Any

import pytest

from novapulse.core import wire
from novapulse.core.errors import Invalid, Malformed
from novapulse.identity.model import email_key
from novapulse.signin.model import Register

GOOD = {
    "companyName": "Acme",
    "name": "Ada",
    "email": "ada@example.com",
    "password": "a long enough one",
}


def read(**changes: Any) -> Register:
    return wire.decode(json.dumps({**GOOD, **changes}).encode(), Register)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("companyName", ["", "x" * 121, None, "a\nb"]),
        ("name", ["", "x" * 121, "a\r\nBcc: all@example.com", "a\x7f"]),
        (
            "email",
            ["", "ada", "@example.com", "ada@", "a@b@c", "a b@c.d", "a@b\nc", "a" * 65 + "@x"],
        ),
        ("password", ["", "x" * 11, "x" * 1025, None, 123456789012]),
        ("setupToken", [5]),
        ("role", ["super_admin"]),
        ("companyId", ["0" * 24]),
    ],
)
def test_unacceptable_values_are_named(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(Invalid) as caught:
            read(**{field: value})
        assert caught.value.errors[0].path == field, value


@pytest.mark.parametrize("field", ["companyName", "name"])
def test_a_line_break_at_the_end_of_a_name_is_refused_too(field: str) -> None:
    # Names go into the headers of mails.
    with pytest.raises(Invalid):
        read(**{field: "Ada\n"})


@pytest.mark.parametrize("email", ["a\0b@example.com", "a@exa\0mple.com", "a\x1b@example.com"])
def test_an_address_has_no_control_characters(email: str) -> None:
    with pytest.raises((Invalid, Malformed)):
        read(email=email)


@pytest.mark.parametrize(
    "other", ["ADA@EXAMPLE.COM", " ada@example.com ", "Ada@Example.Com", "ada@example.com\n"]
)
def test_one_account_an_address_however_it_is_written(other: str) -> None:
    assert email_key(other) == email_key("ada@example.com")


def test_the_sharp_s_is_folded_as_well() -> None:
    assert email_key("STRASSE@example.com") == email_key("straße@example.com")
