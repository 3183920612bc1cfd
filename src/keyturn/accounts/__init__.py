"""Users, passwords and throttling, for servers whose application has no users of its own.

store = await open_store("sqlite:///keyturn.db", create=True)
async with Sessions(store, secrets=[secret], issuer="https://example.com") as sessions:
    async with Accounts(open_users(store), sessions) as accounts:
        await accounts.register("ada", "ada@example.com", "Ada Lovelace", password)
        user, tokens = await accounts.login("ada", password)
"""

from __future__ import annotations

from keyturn.core.errors import ConfigurationError
from keyturn.observing import unobserved
from keyturn.stores import Store, is_postgres, is_sqlite

from .errors import (
    IdentifierTaken,
    InvalidCredentials,
    InvalidField,
    PasswordRefused,
    ResetTokenInvalid,
    TooManyAttempts,
    UserDisabled,
    UserUnknown,
)
from .hashing import PasswordHashing
from .importing import Imported, Outcome, UserImport
from .model import User
from .passwords import PasswordRules
from .service import Accounts
from .store import UserStore

__all__ = [
    "Accounts",
    "IdentifierTaken",
    "Imported",
    "InvalidCredentials",
    "InvalidField",
    "Outcome",
    "PasswordHashing",
    "PasswordRefused",
    "PasswordRules",
    "ResetTokenInvalid",
    "TooManyAttempts",
    "User",
    "UserDisabled",
    "UserImport",
    "UserStore",
    "UserUnknown",
    "open_users",
]


def open_users(store: Store) -> UserStore:
    """The users in the database of ``store``, which closes them with it.

    Of a memory store they live where this returns them: call it once.

    Raises:
        ConfigurationError: that kind of store holds no users.
    """
    from keyturn.stores.memory import MemoryStore

    store = unobserved(store)
    if isinstance(store, MemoryStore):
        from .memory import MemoryUsers

        return MemoryUsers(store)
    if is_sqlite(store):
        from .sqlite import SQLiteUsers

        return SQLiteUsers(store.engine)
    if is_postgres(store):
        from .postgres import PostgresUsers

        return PostgresUsers(store)
    raise ConfigurationError("database_url", "is of a kind that holds no users")
