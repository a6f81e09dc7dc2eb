"""Which new passwords are refused."""

import pytest

from novapulse.core.errors import Invalid
from novapulse.identity.strength import check_new_password


def check(password: str) -> None:
    check_new_password(
        password, email="jane.doe@acme.example", company_name="Acme Industries", path="newPassword"
    )


@pytest.mark.parametrize(
    "password",
    [
        *("password1234", "Password1234!", "P@ssw0rd1234", "passwordpassword", "PASSWORD!!!!!"),
        *("qwertyuiop12", "qwertyuiop[]", "1q2w3e4r5t6y", "asdfghjkl;'1", "zxcvbnm,./12"),
        *("123456789012", "987654321098", "aaaaaaaaaaaa", "abcabcabcabc", "121212121212"),
        *("iloveyou123456", "letmein-letmein", "administrator1", "abcdefghijkl", "welcome_2026!"),
        *("🔥" * 12, " " * 12, "1qaz2wsx3edc"),
    ],
)
def test_what_everybody_tries_first_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(password)
    assert caught.value.errors[0].path == "newPassword"
    assert password.strip() not in caught.value.detail or not password.strip()


@pytest.mark.parametrize(
    "password",
    [
        *(
            "NovaPulse2024!",
            "novapulse-password",
            "N0vaPulse-2026",
            "acme-industries",
            "Acme!!!!2026",
        ),
        *("acme-2024-acme", "jane.doe-12345", "JaneDoe_JaneDoe", "AcmeIndustries99"),
    ],
)
def test_the_names_that_everybody_knows_are_refused(password: str) -> None:
    with pytest.raises(Invalid):
        check(password)


@pytest.mark.parametrize(
    "password",
    [
        *(
            "correct horse battery staple",
            "a long enough one",
            "blue acme harvest",
            "8462917355610",
        ),
        *("пароль-мой-крепкий", "tr0ub4dor&3-again", "novapulse runs my rack", "x" * 6 + "yzab!Q"),
        "the-quick-brown-fox",
    ],
)
def test_everything_else_is_taken_without_rules_about_its_characters(password: str) -> None:
    check(password)


def test_short_names_refuse_nothing() -> None:
    check_new_password("io io io what a long day", email="io@x.example", company_name="X")


def test_a_password_of_the_greatest_length_is_looked_at_quickly() -> None:
    check("ab cd ef gh " * 85)
    with pytest.raises(Invalid):
        check("password" * 128)
