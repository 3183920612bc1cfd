"""How bodies are read: strictly, and naming what is wrong."""

from __future__ import annotations

import pytest

from keyturn.accounts.errors import InvalidField
from keyturn.wire import bodies
from keyturn.wire.errors import BodyMalformed, UnsupportedMediaType
from keyturn.wire.http import Request
from keyturn.wire.shapes import Login, NoFields, PasswordChange, Refresh

JSON = b"application/json"


def request(body: bytes, *content_types: bytes) -> Request:
    headers = [(b"content-type", value) for value in content_types]
    return Request("POST", "/login", b"", headers, body, "192.0.2.1")


def test_a_body_is_read_into_what_the_endpoint_wants() -> None:
    """Names are camelCase on the wire; what is left out has its default."""
    body = b'{"currentPassword": "a", "newPassword": "b\\u0000\\ud83d\\ude00"}'

    read = bodies.read(request(body, JSON), PasswordChange)

    assert read == PasswordChange(current_password="a", new_password="b\0\U0001f600")
    assert bodies.read(request(b"{}", JSON), Refresh) == Refresh(refresh_token="")


@pytest.mark.parametrize("content_type", [JSON, b"Application/JSON", b"application/json;charset=x"])
def test_json_is_known_by_its_media_type(content_type: bytes) -> None:
    """B3: its letter case and parameters do not matter."""
    assert bodies.read(request(b"{}", content_type), NoFields) == NoFields()


@pytest.mark.parametrize(
    "content_types",
    [
        (),
        (b"",),
        (b"text/plain",),
        (b"text/plain; application/json",),
        (b"multipart/form-data; boundary=x",),
        (b"application/x-www-form-urlencoded",),
        (b"application/jsonp",),
        (b"application/json, text/plain",),
        (JSON, b"text/plain"),
        (JSON, JSON),
    ],
)
def test_a_body_of_another_type_is_refused(content_types: tuple[bytes, ...]) -> None:
    """B3: a form of another site can send any of these without asking; never application/json."""
    with pytest.raises(UnsupportedMediaType):
        bodies.read(request(b"{}", *content_types), NoFields)


def test_no_body_needs_no_type() -> None:
    """B3: it is as good as an empty object."""
    assert bodies.read(request(b"", b"text/plain"), Refresh) == Refresh()
    assert bodies.read(request(b""), NoFields) == NoFields()


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"refreshToken"',
        b"{} {}",
        b"{'refreshToken': ''}",
        b'{"refreshToken": "a",}',
        b'{"refreshToken": "\xff"}',
        b'{"refreshToken": "\xed\xa0\x80"}',
        b'{"refreshToken": "a\nb"}',
        b'\xef\xbb\xbf{"refreshToken": "a"}',
        '{"refreshToken": "a"}'.encode("utf-16"),
        b'{"refreshToken": NaN}',
        b'{"refreshToken": -Infinity}',
        b'{"refreshToken": 1' + b"0" * 5000 + b"}",
        b"[" * 65536,
        b'{"refreshToken": ' * 3000,
        b"refreshToken=a",
    ],
)
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    """H6: endless nesting, endless numbers and other encodings too."""
    with pytest.raises(BodyMalformed):
        bodies.read(request(body, JSON), Refresh)


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        (b'{"username": "a"}', "password", "is missing"),
        (b"{}", "password", "is missing"),
        (b'{"password": 1}', "password", "must be text"),
        (b'{"password": null}', "password", "must be text"),
        (b'{"password": ["a"]}', "password", "must be text"),
        (b'{"password": "a", "remember": "yes"}', "remember", "must be true or false"),
        (b'{"password": "a", "remember": 1}', "remember", "must be true or false"),
        (b'{"password": 1e999}', "password", "must be text"),
        (b'{"password": ' + b"[" * 33 + b"]" * 33 + b"}", "password", "must be text"),
        (b'{"a": ' + b"[" * 33 + b"]" * 33 + b"}", "a", "is not a field"),
        (b'{"password": "a", "admin": true}', "admin", "is not a field"),
        (b'{"password": "a", "permissions": ["all"]}', "permissions", "is not a field"),
        (b'{"Password": "a"}', "Password", "is not a field"),
        (b'{"": 1}', "", "is not a field"),
        (b'{"' + b"x" * 1000 + b'": 1}', "x" * 64, "is not a field"),
        (b'{"\\ud800\\n\\u0000": 1}', "\\ud800\n\0", "is not a field"),
        (b'{"password": "a", "password": "b"}', "password", "is given twice"),
        (b'{"password": "a", "pass\\u0077ord": "b"}', "password", "is given twice"),
        (b'{"x": {"y": 1, "y": 1}}', "y", "is given twice"),
        (b'{"password": "\\ud800"}', "password", "is not valid text"),
        (b'{"password": "\\udc00\\ud800"}', "password", "is not valid text"),
    ],
)
def test_a_field_that_is_wrong_is_named(body: bytes, field: str, problem: str) -> None:
    """H6, H7: missing, unknown, twice, of another type, deep, or half a surrogate pair."""
    with pytest.raises(InvalidField) as error:
        bodies.read(request(body, JSON), Login)

    assert error.value.field == field
    assert problem in str(error.value)
