"""From settings to what works together: store, sessions, accounts, the ASGI application."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyturn.accounts import Accounts, PasswordHashing, PasswordRules, UserStore, open_users
from keyturn.core.errors import ConfigurationError
from keyturn.core.model import DAY, Policy
from keyturn.hooks import Hooks, Webhook
from keyturn.integrations.asgi import Answer, App
from keyturn.observing import Observer, observed
from keyturn.sessions import Sessions, check_names
from keyturn.stores import Store, open_store, store_exists
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.settings import CookieSettings, WireSettings, check_random

from .databases import damage_refused, file_of
from .mirror import Mirror
from .secret_files import (
    default_secret_file,
    find_secrets,
    make_private_folder,
    make_secret_file,
    sync_folder,
)
from .settings import Settings
from .watching import Watch

__all__ = [
    "RULES",
    "WEBHOOK",
    "Parts",
    "alone_in",
    "application",
    "check_settings",
    "holds_nothing",
    "open_parts",
    "policy_of",
    "prepare",
    "webhook_of",
    "wire_settings_of",
]

log = logging.getLogger("keyturn")

_HOUR: Final = 3600
_SECONDS_OF_NEWS: Final = 2

WEBHOOK: Final = "webhook"
"""The name of the hook that ``KEYTURN_WEBHOOK_URL`` is."""

_SECONDS_BETWEEN_TRIES: Final = 0.02


@dataclass(frozen=True)
class Parts:
    """What works on one database, and what it was told."""

    settings: Settings
    store: Store
    sessions: Sessions
    accounts: Accounts
    hashing: PasswordHashing

    async def close(self) -> None:
        """Let what is under way finish, and let go of the database."""
        self.accounts.close()
        await self.sessions.close()


def policy_of(settings: Settings) -> Policy:
    """How long things last.

    Raises:
        ConfigurationError: a setting is impossible, or two contradict each other.
    """
    return Policy(
        access_ttl=settings.access_ttl,
        retry_window=settings.retry_window,
        recover=settings.recover,
        idle_timeout=settings.idle_timeout,
        absolute_lifetime=settings.absolute_lifetime,
        max_sessions=settings.max_sessions,
        event_retention=settings.event_retention,
    )


def wire_settings_of(settings: Settings) -> WireSettings:
    """How HTTP is spoken.

    Raises:
        ConfigurationError: a setting is impossible, or two contradict each other.
    """
    return WireSettings(
        public_url=settings.public_url,
        trusted_origins=settings.trusted_origins,
        trusted_proxies=settings.trusted_proxies,
        tokens_in_body=settings.tokens_in_body,
        cookies=CookieSettings(
            prefix=settings.cookie_prefix,
            domain=settings.cookie_domain or None,
            refresh_path=settings.cookie_refresh_path,
            samesite=settings.cookie_samesite,
            insecure_http=settings.cookie_insecure_http,
        ),
        registration=settings.registration,
        revocations_tokens=settings.revocations_token,
    )


def _password_rules_of(settings: Settings) -> PasswordRules:
    return PasswordRules(
        min_length=settings.password_min_length, service_name=settings.service_name
    )


def check_settings(settings: Settings) -> None:
    """Refuse what cannot work, before anything is opened or made.

    Raises:
        ConfigurationError: a setting or a configured secret is impossible, or two settings
            contradict each other.
    """
    for rule in RULES:
        rule(settings)
    if _has_configured_secrets(settings):
        find_secrets(settings)


def _check_metrics(settings: Settings) -> None:
    if settings.metrics_token:
        check_random("metrics_token", settings.metrics_token)


def _check_spans(settings: Settings) -> None:
    """Refuse mistakes that cannot be undone, or that nobody would find out: an access token of a
    month, milliseconds in place of seconds.
    """
    if settings.access_ttl > DAY:
        raise ConfigurationError(
            "access_ttl", f"must be at most {DAY}: ends of sessions are kept in memory for as long"
        )
    if settings.retry_window > _HOUR:
        raise ConfigurationError(
            "retry_window", f"must be at most {_HOUR}: within it a thief passes for a repetition"
        )
    if settings.on_stale == "refuse" and settings.max_staleness < _SECONDS_OF_NEWS:
        raise ConfigurationError(
            "max_staleness",
            f"must be at least {_SECONDS_OF_NEWS} where on_stale is refuse: so old is any news",
        )
    if settings.webhook_url and settings.event_retention < 3 * DAY:
        raise ConfigurationError(
            "event_retention", f"must be at least {3 * DAY} with a webhook, which may fail for two"
        )


def webhook_of(settings: Settings) -> Webhook | None:
    """What posts every event, if anything does.

    Raises:
        ConfigurationError: its URL or a secret is impossible.
    """
    if not settings.webhook_url:
        return None
    return Webhook(settings.webhook_url, settings.webhook_secret)


def _check_names(settings: Settings) -> None:
    check_names(settings.issuer, settings.audience)


RULES: Final = (
    policy_of,
    wire_settings_of,
    _check_names,
    _password_rules_of,
    _check_metrics,
    _check_spans,
    webhook_of,
)
"""What settings must keep, each by itself: raises ``ConfigurationError``."""


async def open_parts(
    settings: Settings,
    *,
    create: bool = False,
    sharded: bool = False,
    observer: Observer | None = None,
) -> Parts:
    """Open the database, which ``create`` makes if it is absent, ``sharded`` for an engine that
    shards, and what works on it; ``observer`` is told of that.

    Raises:
        ConfigurationError: a setting or a secret is impossible, or the database cannot be used.
        StoreUnavailable: the database does not answer.
    """
    if not create:
        _require_database(settings)
    secrets = _secrets_of_database(settings)
    policy = policy_of(settings)
    rules = _password_rules_of(settings)
    store = await open_store(settings.database_url, create=create, sharded=sharded)
    sessions = Sessions(
        store,
        secrets=secrets,
        issuer=settings.issuer,
        audience=settings.audience,
        policy=policy,
        signing_algorithm=settings.signing_algorithm,
        max_staleness=settings.max_staleness,
        on_stale=settings.on_stale,
        observer=observer,
    )
    hashing = PasswordHashing(observer=observer)
    accounts = Accounts(
        _users_of(store, observer),
        sessions,
        hashing=hashing,
        rules=rules,
        profile_in_token=settings.profile_in_token,
    )
    return Parts(settings, store, sessions, accounts, hashing)


def _users_of(store: Store, observer: Observer | None) -> UserStore:
    users = open_users(store)
    if observer is None:
        return users
    return observed(users, UserStore, observer, time.monotonic, prefix="users.")


def holds_nothing(settings: Settings) -> bool:
    """Whether there was no first run yet on this machine: neither secret nor database file, and no
    secret configured.
    """
    return not (
        _has_configured_secrets(settings)
        or default_secret_file(settings).exists()
        or _file_exists(settings)
    )


def _file_exists(settings: Settings) -> bool:
    file = file_of(settings)
    return file is not None and file.exists()


def _has_configured_secrets(settings: Settings) -> bool:
    return bool(settings.secret or settings.secret_file)


def _require_database(settings: Settings) -> None:
    """Of a server it is seen when it is opened."""
    file = file_of(settings)
    if file is None:
        return
    if holds_nothing(settings):
        raise ConfigurationError(
            "data_dir", f"there is nothing in {settings.data_dir} yet: run `keyturn init`"
        )
    if not file.exists():
        raise ConfigurationError("database_url", f"{file} does not exist; run `keyturn init`")


def _secrets_of_database(settings: Settings) -> tuple[bytes, ...]:
    """The secrets. Beside a file that is not ours there is none to be missed."""
    file = file_of(settings)
    has_secret = _has_configured_secrets(settings) or default_secret_file(settings).exists()
    if not has_secret and file is not None and file.is_file():
        _require_ours(file)
    return find_secrets(settings)


def _require_ours(database: Path) -> None:
    from keyturn.stores.sqlite.opening import APPLICATION_ID  # and SQLite, where it is wanted only

    with database.open("rb") as file:
        header = file.read(100)
    ours = header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4)
    if not ours:
        raise ConfigurationError(
            "database_url", f"{database} is not a database of Keyturn; it was left as it is"
        )


@asynccontextmanager
async def application(settings: Settings) -> AsyncIterator[App]:
    """The whole server as an ASGI application, with everything that must run beside it.

    Raises:
        ConfigurationError: a setting or a secret is impossible, or the database cannot be used.
        StoreUnavailable: the database does not answer.
    """
    wire_settings = wire_settings_of(settings)
    watch = Watch(settings, hooks=[WEBHOOK] if settings.webhook_url else [])
    parts = await open_parts(settings, observer=watch.observer)
    try:
        async with parts.sessions, parts.accounts, _hooked(parts, watch.observer):
            endpoints = Endpoints(parts.sessions, parts.accounts, wire_settings)
            answer = _with_pages(endpoints, parts, settings)
            answer = Mirror(find_secrets(settings), answer, wire_settings).handle
            async with watch.over(answer, parts.sessions, parts.hashing, wire_settings) as answer:
                yield App(endpoints, answer=answer)
    finally:
        await parts.close()
        watch.conclude()


@asynccontextmanager
async def _hooked(parts: Parts, observer: Observer | None) -> AsyncIterator[None]:
    webhook = webhook_of(parts.settings)
    if webhook is None:
        yield
        return
    async with aclosing(webhook), Hooks(parts.store, {WEBHOOK: webhook}, observer=observer):
        yield


def _with_pages(endpoints: Endpoints, parts: Parts, settings: Settings) -> Answer:
    if not settings.pages:
        return endpoints.handle
    from .pages.routes import Pages  # and with it Jinja, which a server without pages never loads

    pages = Pages(
        endpoints,
        parts.sessions,
        parts.accounts,
        service_name=settings.service_name,
        password_length=settings.password_min_length,
    )
    return pages.handle


# ── before the first request ────────────────────────────────────────────────────────────────────


async def prepare(settings: Settings, *, create: bool, sharded: bool = False) -> None:
    """See that everything is there and fits together: secrets, database, signing keys.

    On the first run, which is when there is neither a secret nor a database and none is configured,
    both are made; beside a server of PostgreSQL only with ``create``, as the secret may be on
    another machine. Otherwise a missing database is made only with ``create``, and a secret never
    beside an existing database: it would sign everybody out.

    Raises:
        ConfigurationError: something is missing, impossible or does not fit.
        StoreUnavailable: the database does not answer.
    """
    check_settings(settings)
    in_file = file_of(settings) is not None
    may_be_first = not _has_configured_secrets(settings) and (create or in_file)
    if may_be_first or (create and in_file):
        make_private_folder(settings.data_dir)
    if not may_be_first:
        await _open_once(settings, create=create, sharded=sharded)
        return
    async with alone_in(settings.data_dir):
        if default_secret_file(settings).exists():
            await _open_once(settings, create=create, sharded=sharded)
        else:
            await _run_first(settings, sharded=sharded)
            if not create:  # nobody asked for it: the folder may be that of another server
                log.warning(
                    "made a secret and an empty database, as there was neither, in %s",
                    settings.data_dir,
                )


async def _run_first(settings: Settings, *, sharded: bool) -> None:
    """Make a secret, and the database under it. The secret gets its name last, so that a first run
    that was cut short is told from a loss, and is gone on with.
    """
    secret = default_secret_file(settings)
    pending = secret.with_suffix(".pending")
    if not await store_exists(settings.database_url):
        pending.unlink(missing_ok=True)  # it may have been cut short itself
        make_secret_file(pending)
    if not pending.exists():
        _secrets_of_database(settings)  # says that it is missing
    first = dataclasses.replace(settings, secret_file=(pending,))
    await _open_once(first, create=True, sharded=sharded)
    pending.rename(secret)
    sync_folder(secret.parent)


async def _open_once(settings: Settings, *, create: bool, sharded: bool) -> None:
    with damage_refused(settings):
        parts = await open_parts(settings, create=create, sharded=sharded)
        try:
            await parts.sessions.load()
        finally:
            await parts.close()


@asynccontextmanager
async def alone_in(folder: Path) -> AsyncIterator[None]:
    """Of processes that start at once, one makes what is missing and the others find it. They look
    again and again, as to wait for a lock is to hear of nothing else, not even of a stop.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while not _is_locked(descriptor):  # noqa: ASYNC110  it is other processes that let go
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Whether it is now, by us."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
