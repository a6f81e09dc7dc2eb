"""Codes by time against the standard's own numbers, and recovery codes."""

import base64
import io
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.signin import totp

# RFC 6238, appendix B: the last six of the eight digits for SHA-1.
RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
RFC_CODES = [
    (59, "287082"),
    (1_111_111_109, "081804"),
    (1_111_111_111, "050471"),
    (1_234_567_890, "005924"),
    (2_000_000_000, "279037"),
    (20_000_000_000, "353130"),
]


@pytest.mark.parametrize(("at", "code"), RFC_CODES)
def test_the_standards_codes_fit_at_their_moment_only(at: int, code: str) -> None:
    assert totp.find_step(RFC_SECRET, code, at=at, window=0) == at // 30
    assert totp.find_step(RFC_SECRET, code, at=at + 30, window=0) is None
    assert totp.find_step(RFC_SECRET, code, at=at - 30, window=0) is None


@pytest.mark.parametrize(("at", "code"), RFC_CODES[1:])
@pytest.mark.parametrize("offset", range(-4, 5))
def test_two_steps_around_are_taken_and_no_more(at: int, code: str, offset: int) -> None:
    found = totp.find_step(RFC_SECRET, code, at=at + offset * 30, window=2)
    assert found == (at // 30 if abs(offset) <= 2 else None)


def test_the_beginning_of_time_has_no_steps_before_it() -> None:
    assert totp.find_step(RFC_SECRET, "755224", at=0, window=2) == 0


def test_codes_are_those_of_another_implementation() -> None:
    tool = shutil.which("oathtool")
    if tool is None:
        pytest.skip("oathtool is not installed: compared with the RFC's vectors only")
    for at in range(1_700_000_000, 1_700_000_000 + 30 * 40, 30):
        secret = totp.new_secret()
        command = [tool, "--totp=sha1", "--base32", f"--now=@{at}", secret]
        code = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        assert totp.find_step(secret, code.stdout.strip(), at=at, window=0) == at // 30


@pytest.mark.parametrize(
    "code",
    [
        *("", "12345", "1234567", "12 456", " 123456", "123456 ", "123456\n", "12345a", "+12345"),
        *("１２３４５６", "٠١٢٣٤٥", "१२३४५६", "²³¹²³¹", "12345\u0660", "123456\0", "0x1234"),
        *("a" * 31, "a" * 33, "g" * 32, "aaaa-" * 8, "-".join(["aaa"] * 8), "aaaaa-" + "aaaa-" * 7),
    ],
)
def test_what_is_neither_kind_of_code_is_unacceptable(code: str) -> None:
    with pytest.raises(Invalid) as caught:
        totp.is_totp(code)
    assert caught.value.errors[0].path == "code"


@given(st.text())
def test_only_six_ascii_digits_get_as_far_as_the_library(text: str) -> None:
    try:
        is_totp = totp.is_totp(text)
    except Invalid:
        return
    assert bool(re.fullmatch(r"[0-9]{6}", text, re.ASCII)) is is_totp


def test_secrets_have_160_bits_and_are_never_the_same() -> None:
    secrets = {totp.new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert {len(base64.b32decode(secret)) for secret in secrets} == {20}


def test_recovery_codes_have_128_bits_and_one_spelling_is_hashed() -> None:
    codes = totp.new_recovery_codes()
    assert len(set(codes)) == 10
    for code in codes:
        assert re.fullmatch(r"([0-9a-f]{4}-){7}[0-9a-f]{4}", code)
        assert not totp.is_totp(code)
        plain = code.replace("-", "")
        assert not totp.is_totp(plain.upper())
        assert totp.canonical(plain.upper()) == totp.canonical(code) == plain


def test_the_picture_is_a_small_png_of_the_address() -> None:
    uri = totp.otpauth_uri(RFC_SECRET, "ada lovelace+x@example.com")
    assert uri.startswith("otpauth://totp/NovaPulse:ada%20lovelace%2Bx%40example.com?secret=")
    head, _, content = totp.qr_code(uri).partition(",")
    raw = base64.b64decode(content)
    assert head == "data:image/png;base64"
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    assert io.BytesIO(raw).getbuffer().nbytes < 4_000
