"""FastAPI with fastapi-users, whose tokens are JWTs, or rows; ``STRATEGY`` says which."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from common import ACCESS_LIFETIME, SECRET, Session, main
from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users_db_sqlalchemy.access_token import (
    SQLAlchemyAccessTokenDatabase,
    SQLAlchemyBaseAccessTokenTableUUID,
)
from sqlalchemy import Index, func
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

_LIFETIME = int(ACCESS_LIFETIME.total_seconds())

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("://", "+asyncpg://", 1),
    pool_size=15,  # as many as the default opens at most, but all of them kept
    max_overflow=0,
)
new_database_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    pass


Index("user_by_email", func.lower(User.email))  # by which a login looks, without one of its own


class OneRound:
    """PBKDF2-HMAC-SHA256 with one round: hashing is measured apart."""

    def hash(self, password: str) -> str:
        return self._salted(secrets.token_bytes(16), password)

    def verify_and_update(self, password: str, hashed: str) -> tuple[bool, None]:
        salt = bytes.fromhex(hashed.partition("$")[0])
        return secrets.compare_digest(self._salted(salt, password), hashed), None

    def generate(self) -> str:
        return secrets.token_urlsafe()

    def _salted(self, salt: bytes, password: str) -> str:
        return f"{salt.hex()}${hashlib.pbkdf2_hmac('sha256', password.encode(), salt, 1).hex()}"


passwords = OneRound()


# ── what fastapi-users asks for ─────────────────────────────────────────────────────────────────


async def database_session() -> AsyncIterator[AsyncSession]:
    async with new_database_session() as session:
        yield session


Database = Annotated[AsyncSession, Depends(database_session)]


async def user_database(session: Database) -> SQLAlchemyUserDatabase:
    return SQLAlchemyUserDatabase(session, User)


async def access_token_database(session: Database) -> SQLAlchemyAccessTokenDatabase:
    return SQLAlchemyAccessTokenDatabase(session, AccessToken)


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    reset_password_token_secret = SECRET
    verification_token_secret = SECRET


async def user_manager(
    users: Annotated[SQLAlchemyUserDatabase, Depends(user_database)],
) -> UserManager:
    return UserManager(users, passwords)


def jwt_strategy() -> JWTStrategy:
    return JWTStrategy(SECRET, _LIFETIME)


def database_strategy(
    tokens: Annotated[SQLAlchemyAccessTokenDatabase, Depends(access_token_database)],
) -> DatabaseStrategy:
    return DatabaseStrategy(tokens, _LIFETIME)


STRATEGY = {"jwt": jwt_strategy, "database": database_strategy}[os.environ["STRATEGY"]]


# ── what is asked ───────────────────────────────────────────────────────────────────────────────

backend = AuthenticationBackend("bearer", BearerTransport("login"), STRATEGY)
fastapi_users = FastAPIUsers[User, uuid.UUID](user_manager, [backend])
application = FastAPI()
application.include_router(fastapi_users.get_auth_router(backend))


@application.get("/me")
async def me(
    user: Annotated[User, Depends(fastapi_users.current_user(active=True))],
) -> dict[str, str]:
    """Who asks."""
    return {"id": str(user.id)}


# ── the seed ────────────────────────────────────────────────────────────────────────────────────


def seed(names: Sequence[str], password: str) -> list[Session]:
    return asyncio.run(_seed(names, password))


async def _seed(names: Sequence[str], password: str) -> list[Session]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    hashed = passwords.hash(password)
    rows = [User(id=uuid.uuid4(), email=name, hashed_password=hashed) for name in names]
    async with new_database_session() as session:
        session.add_all(rows)
        await session.commit()
        tokens = await _tokens(session, rows)
    return [Session(name, token) for name, token in zip(names, tokens, strict=True)]


async def _tokens(session: AsyncSession, users: Sequence[User]) -> Sequence[str]:
    if STRATEGY is jwt_strategy:
        return [await jwt_strategy().write_token(user) for user in users]
    rows = [AccessToken(token=secrets.token_urlsafe(), user_id=user.id) for user in users]
    session.add_all(rows)
    await session.commit()
    return [row.token for row in rows]


if __name__ == "__main__":
    main(seed)
