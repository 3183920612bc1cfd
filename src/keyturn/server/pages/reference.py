"""The OpenAPI document as a page: operations, fields and codes, ready to be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from .rendering import Texts

__all__ = ["Field", "Group", "Operation", "Refusal", "Success", "groups_of"]

_Document = Mapping[str, Any]

_JSON: Final = "application/json"
_TOKENS: Final = {"bearer": "access", "feed": "feed"}
_SHELL_NAMES: Final = {"access": "ACCESS_TOKEN", "feed": "FEED_TOKEN"}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter, a header, or a member of some JSON."""

    name: str
    kind: str
    """Its type, and what bounds it, in words."""
    needed: bool
    """Whether it is never absent."""
    description: str


class Success(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of an operation that did what it should."""

    status: str
    media_type: str
    fields: Sequence[Field]
    headers: Sequence[Field]
    description: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A status of an operation that did not, with the codes that its problem may have."""

    status: str
    codes: Sequence[str]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint."""

    name: str
    method: str
    path: str
    summary: str
    description: str
    token: str
    """``access``, ``feed``, or empty where none is asked for."""
    parameters: Sequence[Field]
    body: Sequence[Field]
    body_needed: bool
    successes: Sequence[Success]
    refusals: Sequence[Refusal]
    example: str
    """For a shell."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs together."""

    name: str
    anchor: str
    description: str
    operations: Sequence[Operation]


def groups_of(document: _Document, texts: Texts) -> Sequence[Group]:
    """All operations of an OpenAPI 3.1 ``document``, as its tags group them."""
    reader = _Reader(document, texts)
    operations = [
        (described["tags"][0], reader.operation(method, path, described))
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    return [
        Group(
            name=tag["name"],
            anchor=re.sub(r"\W+", "-", tag["name"].lower()),
            description=tag["description"],
            operations=[operation for name, operation in operations if name == tag["name"]],
        )
        for tag in document["tags"]
    ]


class _Reader:
    """Reads one document, as far as ours make use of what may be in one."""

    def __init__(self, document: _Document, texts: Texts) -> None:
        self._url: str = document["servers"][0]["url"]
        self._schemas: _Document = document["components"]["schemas"]
        self._words: Texts = texts["docs"]["types"]

    def operation(self, method: str, path: str, described: _Document) -> Operation:
        body = described.get("requestBody", {})
        answers = described["responses"].items()
        token = next((_TOKENS[name] for way in described.get("security", []) for name in way), "")
        return Operation(
            name=described["operationId"],
            method=method.upper(),
            path=path,
            summary=described["summary"],
            description=described["description"],
            token=token,
            parameters=[
                self._field(each["name"], each, needed=each.get("required", False))
                for each in described.get("parameters", [])
            ],
            body=list(self._members(body["content"][_JSON]["schema"])) if body else [],
            body_needed=body.get("required", False),
            successes=[
                self._success(status, answer) for status, answer in answers if status < "400"
            ],
            refusals=[
                self._refusal(status, answer) for status, answer in answers if status >= "400"
            ],
            example=self._example(method.upper(), path, body, token),
        )

    def _success(self, status: str, answer: _Document) -> Success:
        ((media_type, content),) = answer.get("content", {"": {}}).items()
        headers = answer.get("headers", {})
        return Success(
            status=status,
            media_type=media_type,
            fields=list(self._members(content.get("schema", {}))),
            headers=[
                self._field(name, header, needed=header.get("required", False))
                for name, header in headers.items()
            ],
            description=answer["description"],
        )

    def _refusal(self, status: str, answer: _Document) -> Refusal:
        ((_, content),) = answer["content"].items()
        return Refusal(status=status, codes=content["schema"]["properties"]["code"]["enum"])

    def _members(self, schema: _Document, within: str = "") -> Iterator[Field]:
        """Every member that is no object itself, under its path."""
        found = self._resolved(schema)
        needed = found.get("required", [])
        for name, member in found.get("properties", {}).items():
            path, inner = within + name, self._resolved(member)
            while inner.get("type") == "array" and "$ref" in inner["items"]:
                path, inner = f"{path}[]", self._resolved(inner["items"])
            if "properties" in inner:
                yield from self._members(inner, f"{path}.")
            elif inner.get("type") != "object":
                yield self._field(path, {**member, "schema": inner}, needed=name in needed)

    def _field(self, name: str, described: _Document, *, needed: bool) -> Field:
        return Field(
            name=name,
            kind=self._kind(described["schema"]),
            needed=needed,
            description=described.get("description", ""),
        )

    def _kind(self, schema: _Document) -> str:
        """A type in words, with what bounds it."""
        name = schema.get("type", "any")
        if schema.get("format") in self._words:
            name = schema["format"]
        word = str(self._words[name])
        if name == "array":
            return word.format(items=self._kind(schema["items"]))
        if "maxLength" in schema:
            least, most = schema["minLength"], schema["maxLength"]
            return f"{word}, {self._words['lengths'].format(least=least, most=most)}"
        return word

    def _resolved(self, schema: _Document) -> _Document:
        """The schema that is referred to, or ``schema`` itself."""
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _example(self, method: str, path: str, body: _Document, token: str) -> str:
        place = re.sub(r"\{(\w+)\}", lambda name: "$" + name[1].upper(), self._url + path)
        parts = [f'curl "{place}"' if "$" in place else f"curl {place}"]
        if method != "GET":
            parts[0] = parts[0].replace("curl ", f"curl -X {method} ")
        if token:
            parts.append(f'-H "Authorization: Bearer ${_SHELL_NAMES[token]}"')
        if body:
            example = json.dumps(body["content"][_JSON]["example"], ensure_ascii=False)
            quoted = example.replace("'", "'\\''")
            parts += ["-H 'Content-Type: application/json'", f"-d '{quoted}'"]
        return " \\\n  ".join(parts)
