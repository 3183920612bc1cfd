"""What pages load: scripts, style, pictures. All of them lie under one hash of all their contents,
so they find each other by relative names, and browsers may keep them for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import msgspec

from keyturn.wire.http import Header, Request, Response

__all__ = ["CLIENT_PATH", "StaticFiles"]

CLIENT_PATH: Final = "/keyturn.js"
"""Where pages of an application find the browser client, whatever its version."""

_PREFIX: Final = "/static/"
_MEDIA_TYPES: Final = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_FOR_EVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_ASK_EACH_TIME: Final = (b"cache-control", b"no-cache")


class _File(msgspec.Struct, frozen=True):
    content: bytes
    media_type: bytes
    etag: bytes


class StaticFiles:
    """The files, read once."""

    def __init__(self) -> None:
        folder = files(__package__) / "static"
        self._files = {file.name: _read(file) for file in folder.iterdir() if _type_of(file.name)}
        whole = hashlib.sha256()
        for name in sorted(self._files):
            whole.update(name.encode() + self._files[name].etag)
        self._version = whole.hexdigest()[:16]

    def path_of(self, name: str) -> str:
        """Where a file is found, below the base path."""
        if name not in self._files:
            raise KeyError(name)
        return f"{_PREFIX}{self._version}/{name}"

    def answer(self, request: Request) -> Response | None:
        """The file that is asked for; None if there is none.

        Under the hash of another release it is answered too, to be asked for again each time: while
        servers are replaced one by one, the page may be of the one and this of the other.
        """
        version, name = _split(request.path)
        file = self._files.get(name)
        if file is None:
            return None
        caching = [_FOR_EVER if version == self._version else _ASK_EACH_TIME, (b"etag", file.etag)]
        known = request.header(b"if-none-match") or b""
        if known == b"*" or file.etag in known:
            return Response(304, caching)
        return Response(200, [*_of(file), *caching], file.content)


def _split(path: str) -> tuple[str, str]:
    """The version that is asked for, and the name of the file."""
    if path == CLIENT_PATH:
        return "", CLIENT_PATH[1:]
    if not path.startswith(_PREFIX):
        return "", ""
    version, _, name = path.removeprefix(_PREFIX).partition("/")
    return version, name


def _read(file: Traversable) -> _File:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    return _File(content, _type_of(file.name), b'"%b"' % digest.encode())


def _type_of(name: str) -> bytes:
    """Empty for what some editor left there."""
    return _MEDIA_TYPES.get(name.rpartition(".")[2], b"")


def _of(file: _File) -> Sequence[Header]:
    return [(b"content-type", file.media_type)]
