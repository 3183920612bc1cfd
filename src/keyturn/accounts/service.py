"""``Accounts``: users who sign in with a password, for servers that have no users of their own."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

from msgspec.structs import replace

from keyturn.core import base64url
from keyturn.core.access_token import check_claims
from keyturn.core.errors import ClaimsRefused, SignInRaced, Unavailable
from keyturn.core.model import Claims, Device, EndReason, Event, EventKind, Tokens
from keyturn.devices import fit_to_be_kept
from keyturn.sessions import Sessions, checked_user_id

from . import throttle
from .errors import (
    IdentifierTaken,
    InvalidCredentials,
    InvalidField,
    ResetTokenInvalid,
    TooManyAttempts,
    UserDisabled,
    UserUnknown,
)
from .hashing import PasswordHashing
from .identifiers import check_email, check_fullname, check_username, key_of
from .importing import ImportedUser, UserImport
from .model import Account, User
from .passwords import PasswordRules
from .store import NotChanged, UserStore
from .throttle import ThrottleKey

__all__ = ["Accounts"]

log = logging.getLogger("keyturn")

_Result = TypeVar("_Result")

_ATTEMPTS: Final = 5  # to win a race before it is called a failure of ours
_SWEEP_SECONDS: Final = 3600
_SWEEP_BATCH: Final = 500


class Accounts:
    """The users of one service, and their way to a session.

    Use it as an asynchronous context manager, within that of the sessions: while it is entered,
    ``sweep`` runs by itself once an hour, and leaving it closes it.

    Every method may raise ``Unavailable``: the store did not answer, or there are more passwords
    to hash than the machine can do. Then nothing is known to be wrong with what was asked.

    Args:
        users: in the same database as the sessions.
        sessions: where a sign-in leads to. Its clock is the one that counts here too.
        hashing: how passwords are hashed.
        rules: what may be a password.
        profile_in_token: False keeps username, email and full name out of the access tokens.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: Sessions,
        *,
        hashing: PasswordHashing | None = None,
        rules: PasswordRules | None = None,
        profile_in_token: bool = True,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._hashing = PasswordHashing() if hashing is None else hashing
        self._rules = PasswordRules() if rules is None else rules
        self._profile_in_token = profile_in_token
        self._throttle_secret = sessions.secrets.first.throttle_key
        self._sweeping: asyncio.Task[None] | None = None

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Let go of the threads that hash."""
        self._hashing.close()

    # ── register ────────────────────────────────────────────────────────────────────────────────

    async def register(
        self,
        username: str,
        email: str,
        fullname: str,
        password: str,
        *,
        permissions: Sequence[str] = (),
        address: str = "",
    ) -> User:
        """Add a user.

        Args:
            username: 3 to 64 code points without an @; unique without regard to case and form.
            email: at most 254 bytes; unique likewise.
            fullname: 1 to 128 code points.
            password: 8 to 1024 code points, or from as many on as the rules say.
            permissions: words that the user's access tokens carry; never to be taken from a
                stranger's request.
            address: of the client, if a stranger asks; counts on its network as a failure does.

        Raises:
            InvalidField: one of them cannot be taken.
            PasswordRefused: the password cannot be taken.
            IdentifierTaken: somebody has that username or email.
            TooManyAttempts: from this address.
            ClaimsRefused: an access token cannot carry the permissions.
        """
        # Before anything is known of it: adding users without end is as bad as trying out their
        # names, and to be refused again and again is no cheaper for us.
        await self._settle(self._network_keys(address), success=False)
        user = User(
            id=_new_id(),
            username=username,
            email=email,
            fullname=fullname,
            permissions=tuple(permissions),
            created_at=self._sessions.now(),
        )
        self._check(user)
        self._rules.check(password, user)
        asker = throttle.site_of(address)
        if not await self._users.add(user, await self._hashing.hash(password, asker=asker)):
            raise IdentifierTaken
        return user

    def new_import(self, *, dry_run: bool = False) -> UserImport:
        """Users whose passwords are hashed already can be added by this.

        Args:
            dry_run: True only tells what would be done.
        """
        return UserImport(self._users, self._of_import, dry_run=dry_run)

    def _of_import(self, imported: ImportedUser) -> User:
        now = self._sessions.now()
        user = User(
            id=_new_id(),
            username=imported.username,
            email=imported.email,
            fullname=imported.fullname,
            permissions=imported.permissions,
            created_at=_time_before(now, imported.created_at),
            disabled_at=now if imported.disabled else None,
        )
        self._check(user)
        return user

    def _check(self, user: User) -> None:
        check_username(user.username)
        check_email(user.email)
        check_fullname(user.fullname)
        check_claims(self.claims_of(user))

    # ── sign in ─────────────────────────────────────────────────────────────────────────────────

    async def authenticate(self, identifier: str, password: str, *, address: str = "") -> User:
        """The user who has this username or email, and this password.

        Raises:
            InvalidCredentials: no such user, or a wrong password, or the user is disabled.
            TooManyAttempts: with this name, or from this address.
        """
        return (await self._authenticate(identifier, password, _device_at(address))).user

    async def login(
        self,
        identifier: str,
        password: str,
        *,
        device: Device | None = None,
        remember: bool = True,
        replaces: str | None = None,
    ) -> tuple[User, Tokens]:
        """Begin a session of the user who has this username or email, and this password.

        Args:
            identifier: username or email.
            password: as it was typed.
            device: where the request came from.
            remember: False for cookies that end with the browser.
            replaces: a refresh token that the same client held before; its session ends.

        Raises:
            InvalidCredentials: no such user, or a wrong password, or the user is disabled.
            TooManyAttempts: with this name, or from this address.
        """
        device = fit_to_be_kept(device)

        async def sign_in() -> tuple[User, Tokens]:
            account = await self._authenticate(identifier, password, device)
            return await self._begin_session(account, device, remember=remember, replaces=replaces)

        return await _unless_raced(sign_in)

    async def _authenticate(self, identifier: str, password: str, device: Device) -> Account:
        key = key_of(identifier)
        found = await self._users.find(key)
        keys = self._keys(key, found, device.address)
        account = await self._prove(found, password, keys, device)
        asker = throttle.site_of(device.address)
        if better := await self._hashing.rehash(account.password_hash, password, asker=asker):
            await self._users.rehash(account, better)
        return account

    async def _prove(
        self,
        account: Account | None,
        password: str,
        keys: Sequence[ThrottleKey],
        device: Device,
    ) -> Account:
        """The account, if there is one, and the password is its own. If not, the work is the
        same.
        """
        await self._turn_away_blocked(keys)
        password_hash = None if account is None else account.password_hash
        asker = throttle.site_of(device.address)
        matches = await self._hashing.verify(password_hash, password, asker=asker)
        proved = account if matches and account and not account.user.disabled else None
        if proved is None:
            await self._settle(keys, success=False, failure=self._failure(account, device))
            raise InvalidCredentials
        await self._settle(keys, success=True)
        return proved

    def _failure(self, account: Account | None, device: Device) -> Event:
        """Of nobody, where there is no such user: then it is not recorded, which takes as long."""
        return Event(
            at=self._sessions.now(),
            kind=EventKind.AUTHENTICATION_FAILED,
            user_id="" if account is None else account.user.id,
            device=device,
        )

    async def _prove_again(self, user_id: str, current: str, device: Device) -> Account:
        """The account of a user who is signed in, if ``current`` is their password."""
        # Not the name: a stranger who guesses at the login page shall not keep the user from this.
        key = throttle.user_key(self._throttle_secret, user_id)
        account = await self._users.get(user_id)
        keys = [key, *self._network_keys(device.address)]
        return await self._prove(account, current, keys, device)

    async def _begin_session(
        self,
        account: Account,
        device: Device,
        *,
        remember: bool,
        replaces: str | None = None,
    ) -> tuple[User, Tokens]:
        """Begin a session, unless the user was changed since ``account`` was read."""
        tokens = await self._sessions.create(
            account.user.id,
            self.claims_of(account.user),
            device=device,
            remember=remember,
            replaces=replaces,
            epoch=account.epoch,
        )
        return account.user, tokens

    def claims_of(self, user: User) -> Claims:
        """What access tokens say of ``user``."""
        if not self._profile_in_token:
            return Claims(permissions=user.permissions)
        return Claims(
            username=user.username,
            email=user.email,
            fullname=user.fullname,
            permissions=user.permissions,
        )

    # ── passwords ───────────────────────────────────────────────────────────────────────────────

    async def change_password(
        self,
        user_id: str,
        current: str,
        new: str,
        *,
        device: Device | None = None,
        remember: bool = True,
    ) -> tuple[User, Tokens]:
        """Give the user another password. Every session ends; the answer is a new one.

        Raises:
            PasswordRefused: the new password cannot be taken.
            InvalidCredentials: the current password is wrong, or the user was changed meanwhile.
            TooManyAttempts: with a wrong current password.
            UserUnknown: there is no such user.
        """
        device = fit_to_be_kept(device)
        await self.get_user(user_id)

        async def change() -> str:
            account = await self._prove_again(user_id, current, device)
            self._rules.check(new, account.user)
            return await self._replace_password(account, new, device)

        async def sign_in(password_hash: str) -> tuple[User, Tokens]:
            account = await self._account(user_id)
            if account.user.disabled or account.password_hash != password_hash:
                raise InvalidCredentials
            return await self._begin_session(account, device, remember=remember)

        password_hash = await _unless_raced(change)
        return await _unless_raced(partial(sign_in, password_hash))

    async def set_password(self, user_id: str, new: str) -> None:
        """Give the user another password, as an administrator. Every session ends.

        Raises:
            PasswordRefused: the new password cannot be taken.
            UserUnknown: there is no such user.
        """

        async def change() -> None:
            account = await self._account(user_id)
            self._rules.check(new, account.user)
            await self._replace_password(account, new, Device())

        await _unless_raced(change)

    async def make_reset_token(self, user_id: str, *, lifetime: int = 3600) -> str:
        """Make a token that sets another password of the user, once: 43 characters of base64url.
        For whoever has seen to it that it gets to the user, and to nobody else.

        Only its digest is kept. It takes the place of an earlier one; a new password, another email
        and disabling make it worthless too.

        Args:
            user_id: whose password.
            lifetime: seconds.

        Raises:
            UserUnknown: there is no such user.
            UserDisabled: the user is disabled.
        """
        token = base64url.encode(secrets.token_bytes(32))
        expires_at = self._sessions.now() + lifetime
        if not await self._users.set_reset(_possible(user_id), _digest_of(token), expires_at):
            await self.get_user(user_id)
            raise UserDisabled
        return token

    async def reset_password(self, token: str, new: str, *, device: Device | None = None) -> User:
        """Give the user for whom ``token`` was made another password. Every session ends, and
        failures that were counted on the user's names are forgotten.

        Raises:
            ResetTokenInvalid: the token is unknown, or was used, or is over.
            PasswordRefused: the new password cannot be taken; the token stays good.
            TooManyAttempts: from this address.
        """
        device = fit_to_be_kept(device)
        keys, digest = self._network_keys(device.address), _digest_of(token)

        async def reset() -> User:
            await self._turn_away_blocked(keys)
            account = await self._users.find_by_reset(digest, self._sessions.now())
            if account is None:
                await self._settle(keys, success=False)
                raise ResetTokenInvalid
            self._rules.check(new, account.user)
            await self._replace_password(account, new, device, reset=digest)
            return account.user

        user = await _unless_raced(reset)
        with suppress(Unavailable):  # the password has been reset in any case
            await self._users.clear(self._keys_of(user))
        return user

    async def _replace_password(
        self, account: Account, new: str, device: Device, *, reset: bytes | None = None
    ) -> str:
        password_hash = await self._hashing.hash(new, asker=throttle.site_of(device.address))
        ending = self._sessions.ending(EndReason.PASSWORD_CHANGED)
        ended = await self._users.set_password(account, password_hash, ending, device, reset=reset)
        if ended is None:
            raise SignInRaced
        self._sessions.apply(ended)
        return password_hash

    # ── names ───────────────────────────────────────────────────────────────────────────────────

    async def change_profile(
        self,
        user_id: str,
        *,
        email: str | None = None,
        fullname: str | None = None,
        current: str = "",
        address: str = "",
    ) -> User:
        """Change email and full name, as far as they are given. What access tokens say changes at
        once, as with ``Sessions.set_claims``.

        Args:
            user_id: of the user, who asks for it.
            email: what the user signs in with, so this needs ``current``; it counts on the network
                of ``address`` as a registration does.
            fullname: what others see.
            current: the user's password.
            address: of the client.

        Raises:
            InvalidField: one of them cannot be taken.
            IdentifierTaken: somebody has that email.
            InvalidCredentials: the current password is wrong, or the user was changed meanwhile.
            TooManyAttempts: with a wrong current password, from this address, or to change names
                again and again.
            UserUnknown: there is no such user.
        """
        await self.get_user(user_id)

        async def change() -> User:
            if email is None:
                # Each change is told to every process: nobody is to make many of them.
                await self._settle([self._profile_key(user_id)], success=False)
                account = await self._account(user_id)
            else:
                account = await self._prove_again(user_id, current, _device_at(address))
                await self._settle(self._network_keys(address), success=False)
            return await self._rename(account, email=email, fullname=fullname)

        try:
            return await _unless_raced(change)
        except ClaimsRefused:
            field = "email" if fullname is None else "fullname"
            raise InvalidField(field, "is too long for your access tokens") from None

    async def set_profile(
        self,
        user_id: str,
        *,
        username: str | None = None,
        email: str | None = None,
        fullname: str | None = None,
    ) -> User:
        """Change names of the user, as far as they are given, as an administrator. What access
        tokens say changes at once.

        Raises:
            InvalidField: one of them cannot be taken.
            IdentifierTaken: somebody has that username or email.
            ClaimsRefused: an access token cannot carry them.
            UserUnknown: there is no such user.
        """

        async def change() -> User:
            account = await self._account(user_id)
            return await self._rename(account, username=username, email=email, fullname=fullname)

        return await _unless_raced(change)

    async def _rename(self, account: Account, **names: str | None) -> User:
        given = {name: value for name, value in names.items() if value is not None}
        user = replace(account.user, **given)
        if user == account.user:
            return user
        self._check(user)
        change = self._sessions.claims_change(user.id, self.claims_of(user))
        changed = await self._users.change(account, user, change)
        if changed is NotChanged.RACED:
            raise SignInRaced
        if changed is NotChanged.TAKEN:
            raise IdentifierTaken
        self._sessions.apply(changed)
        return user

    # ── delete, disable and enable ──────────────────────────────────────────────────────────────

    async def delete_own(self, user_id: str, current: str, *, address: str = "") -> None:
        """Delete the user who asks for it, as ``delete`` does.

        Raises:
            InvalidCredentials: the current password is wrong, or the user was changed meanwhile.
            TooManyAttempts: with a wrong current password.
            UserUnknown: there is no such user.
        """
        await self.get_user(user_id)

        async def delete() -> None:
            account = await self._prove_again(user_id, current, _device_at(address))
            if not await self._delete(user_id, account.epoch):
                raise SignInRaced

        await _unless_raced(delete)

    async def delete(self, user_id: str) -> None:
        """Delete a user, and end all their sessions, sign-ins under way too. The names are free
        again, the id is never used again; sessions and events keep nothing of the user but it.

        Raises:
            UserUnknown: there is no such user.
        """
        if not await self._delete(user_id):
            raise UserUnknown

    async def _delete(self, user_id: str, epoch: int | None = None) -> bool:
        ending = self._sessions.ending(EndReason.USER_DELETED)
        ended = await self._users.delete(_possible(user_id), ending, epoch=epoch)
        self._sessions.apply(ended or ())
        return ended is not None

    async def disable(self, user_id: str) -> None:
        """Keep a user from signing in, and end all their sessions, sign-ins under way too.

        Raises:
            UserUnknown: there is no such user.
        """
        ending = self._sessions.ending(EndReason.USER_DISABLED)
        ended = await self._users.disable(_possible(user_id), ending)
        if ended is None:
            raise UserUnknown
        self._sessions.apply(ended)

    async def enable(self, user_id: str) -> None:
        """Let a disabled user sign in again.

        Raises:
            UserUnknown: there is no such user.
        """
        if not await self._users.enable(_possible(user_id)):
            raise UserUnknown

    # ── find ────────────────────────────────────────────────────────────────────────────────────

    async def get_user(self, user_id: str) -> User:
        """The user of this id.

        Raises:
            UserUnknown: there is none.
        """
        return (await self._account(user_id)).user

    async def find_user(self, identifier: str) -> User:
        """The user who has this username or email.

        Raises:
            UserUnknown: there is none.
        """
        account = await self._users.find(key_of(identifier))
        if account is None:
            raise UserUnknown
        return account.user

    async def list_users(self, *, after: str = "", limit: int = 100) -> list[User]:
        """At most ``limit`` users in the order of their usernames, from past username ``after``."""
        return await self._users.list_users(after=key_of(after), limit=limit)

    async def _account(self, user_id: str) -> Account:
        account = await self._users.get(_possible(user_id))
        if account is None:
            raise UserUnknown
        return account

    # ── throttle ────────────────────────────────────────────────────────────────────────────────

    def _keys(
        self, identifier_key: str, account: Account | None, address: str
    ) -> list[ThrottleKey]:
        """As many for a name that nobody has: to write less would tell."""
        secret = self._throttle_secret
        # An id has no space in it.
        whose = f"nobody {identifier_key}" if account is None else account.user.id
        name = throttle.identifier_key(secret, identifier_key)
        return [name, throttle.account_key(secret, whose), *self._network_keys(address)]

    def _profile_key(self, user_id: str) -> ThrottleKey:
        """Apart from the key of guesses at the password: an id has no space in it."""
        return throttle.user_key(self._throttle_secret, f"{user_id} profile")

    def _network_keys(self, address: str) -> list[ThrottleKey]:
        network = throttle.network_key(self._throttle_secret, address)
        return [] if network is None else [network]

    def _keys_of(self, user: User) -> list[ThrottleKey]:
        """All that failures of this user's are counted on, but for the networks."""
        names = (user.username_key, user.email_key)
        of_names = [throttle.identifier_key(self._throttle_secret, name) for name in names]
        return [
            *of_names,
            throttle.account_key(self._throttle_secret, user.id),
            throttle.user_key(self._throttle_secret, user.id),
        ]

    async def blocked_until(self, user_id: str) -> int | None:
        """When the last of the blocks ends by which attempts with the user's names, or at their
        current password, are refused; None if there is none.

        Raises:
            UserUnknown: there is no such user.
        """
        keys = self._keys_of(await self.get_user(user_id))
        return await self._users.blocked_until(keys, self._sessions.now()) or None

    async def unlock(self, user_id: str) -> None:
        """Forget the failures counted on the user's names and at their current password.

        Raises:
            UserUnknown: there is no such user.
        """
        await self._users.clear(self._keys_of(await self.get_user(user_id)))

    def name_in_log(self, identifier: str) -> str:
        """Tells attempts at one account from those at others. In clear it might be a password that
        was typed into the wrong field.
        """
        name = throttle.identifier_key(self._throttle_secret, key_of(identifier))
        return name.digest.hex()[:16]

    async def _turn_away_blocked(self, keys: Sequence[ThrottleKey]) -> None:
        now = self._sessions.now()
        _refuse_until(await self._users.blocked_until(keys, now), now)

    async def _settle(
        self, keys: Sequence[ThrottleKey], *, success: bool, failure: Event | None = None
    ) -> None:
        now = self._sessions.now()
        until = await self._users.settle(keys, success=success, now=now, failure=failure)
        _refuse_until(until, now)

    # ── housekeeping ────────────────────────────────────────────────────────────────────────────

    async def sweep(self) -> int:
        """Delete the counted failures that are forgotten and the resets that are over, in bounded
        batches; say how many. To be called once an hour, where it does not run by itself.
        """
        swept = 0
        while batch := await self._users.sweep(self._sessions.now(), _SWEEP_BATCH):
            swept += batch
        return swept

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.sweep()
            except Unavailable as error:
                log.warning("cannot sweep accounts: %s", error)
            except Exception:  # the next sweep finds what this one left
                log.warning("cannot sweep accounts", exc_info=True)


def _new_id() -> str:
    """Without a dash in front, as commands would take it for an option."""
    while (new := base64url.encode(secrets.token_bytes(16))).startswith("-"):
        pass
    return new


def _possible(user_id: str) -> str:
    """What no store could hold is nobody's."""
    try:
        return checked_user_id(user_id)
    except ClaimsRefused:
        raise UserUnknown from None


def _device_at(address: str) -> Device:
    return fit_to_be_kept(Device(address=address))


def _digest_of(token: str) -> bytes:
    """What is kept of a token of 256 random bits: nobody finds the token from it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _time_before(now: int, text: str | None) -> int:
    """Unix time of an ISO 8601 text, UTC unless it says otherwise; ``now`` without one."""
    if text is None:
        return now
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        at = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
        if 0 <= at <= now:
            return at
    raise InvalidField("createdAt", "must be a time in the past, such as 2026-01-31T08:00:00Z")


def _refuse_until(until: int, now: int) -> None:
    if until:
        raise TooManyAttempts(until - now)


async def _unless_raced(action: Callable[[], Awaitable[_Result]]) -> _Result:
    """Run ``action``, and again when the user was changed while it ran: it reads them anew."""
    for _ in range(_ATTEMPTS):
        with suppress(SignInRaced):
            return await action()
    raise Unavailable("The account is being changed too fast to follow")
