"""Reading a JSON body into the struct that an endpoint wants, strictly."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final, NoReturn, TypeVar, get_args

import msgspec
from msgspec.structs import FieldInfo

from keyturn.accounts.errors import InvalidField

from .errors import BodyMalformed, UnsupportedMediaType
from .http import Request

__all__ = ["read"]

_Body = TypeVar("_Body", bound=msgspec.Struct)

_JSON: Final = b"application/json"
_BLANK: Final = " \t\n\r"
_LONGEST_NAME_TOLD: Final = 64


def read(request: Request, kind: type[_Body]) -> _Body:
    """The body of ``request``. None at all is as good as ``{}``, and then no type is asked for.

    The fields of ``kind`` are texts and flags, so a body never nests, however deep one tries.

    Raises:
        UnsupportedMediaType: the body is not declared to be ``application/json``.
        BodyMalformed: it is not one JSON object in UTF-8.
        InvalidField: a field is given twice, is unknown, missing, or of the wrong type.
    """
    members = _members(request) if request.body else {}
    fields = _fields(kind)
    for name in members:
        if name not in fields:
            raise InvalidField(_tellable(name), "is not a field of this request")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in members:
            values[field.name] = _convert(name, members[name], field.type)
        elif field.required:
            raise InvalidField(name, "is missing")
    return kind(**values)


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    """By their names on the wire."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _members(request: Request) -> dict[str, Any]:
    media_type = request.header(b"content-type") or b""
    if media_type != _JSON and media_type.partition(b";")[0].strip().lower() != _JSON:
        raise UnsupportedMediaType
    try:
        text = request.body.decode().strip(_BLANK)
        members, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):  # no UTF-8, no JSON, or endlessly deep
        raise BodyMalformed from None
    if end != len(text) or not isinstance(members, dict):
        raise BodyMalformed
    return members


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise InvalidField(_tellable(name), "is given twice")
        members[name] = value
    return members


def _no_number(_: str) -> NoReturn:
    raise BodyMalformed  # NaN and Infinity are no JSON


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_number)


def _convert(name: str, value: Any, kind: Any) -> Any:
    try:
        converted = msgspec.convert(value, kind)
        msgspec.json.encode(converted)
    except msgspec.ValidationError:
        wanted = "true or false" if bool in (kind, *get_args(kind)) else "text"
        raise InvalidField(name, f"must be {wanted}") from None
    except UnicodeEncodeError:  # half a surrogate pair, which no UTF-8 can hold
        raise InvalidField(name, "is not valid text") from None
    return converted


def _tellable(name: str) -> str:
    """A stranger's name for a field, fit to be repeated."""
    return name[:_LONGEST_NAME_TOLD].encode("ascii", "backslashreplace").decode()
