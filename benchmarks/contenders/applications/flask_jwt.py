"""Flask with flask-jwt-extended: what was revoked is in a table, which every request looks into."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from common import ACCESS_LIFETIME, REFRESH_LIFETIME, SECRET, Session, main
from flask import Flask, Response, abort, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    current_user,
    get_jwt,
    get_jwt_identity,
    jwt_required,
)
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, ForeignKey, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

application = Flask(__name__)
application.config.update(
    JWT_SECRET_KEY=SECRET,
    JWT_ACCESS_TOKEN_EXPIRES=ACCESS_LIFETIME,
    JWT_REFRESH_TOKEN_EXPIRES=REFRESH_LIFETIME,
    SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"].replace("://", "+psycopg://", 1),
)


class Base(DeclarativeBase):
    pass


database = SQLAlchemy(application, model_class=Base)
jwt = JWTManager(application)


class User(database.Model):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]


class Revoked(database.Model):
    __tablename__ = "blocklist"

    id: Mapped[int] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(String(36), index=True)
    type: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


@jwt.user_lookup_loader
def _user(_header: Mapping[str, Any], payload: Mapping[str, Any]) -> User | None:
    return database.session.get(User, int(payload["sub"]))


@jwt.token_in_blocklist_loader
def _is_revoked(_header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    found = select(Revoked.id).where(Revoked.jti == payload["jti"])
    return database.session.scalar(found) is not None


def _revoke_presented() -> None:
    token = get_jwt()
    database.session.add(
        Revoked(
            jti=token["jti"],
            type=token["type"],
            user_id=current_user.id,
            created_at=datetime.now(UTC),
        )
    )
    database.session.commit()


def _new_pair(identity: str) -> dict[str, str]:
    return {
        "access_token": create_access_token(identity),
        "refresh_token": create_refresh_token(identity),
    }


# ── what is asked ───────────────────────────────────────────────────────────────────────────────


@application.post("/login")
def login() -> Response:
    sent = request.get_json()
    user = database.session.scalar(select(User).where(User.name == sent["name"]))
    if user is None or not check_password_hash(user.password, sent["password"]):
        abort(401)
    return jsonify(_new_pair(str(user.id)))


@application.post("/refresh")
@jwt_required(refresh=True)
def refresh() -> Response:
    _revoke_presented()
    return jsonify(_new_pair(get_jwt_identity()))


@application.get("/me")
@jwt_required()
def me() -> Response:
    return jsonify(id=current_user.id)


@application.delete("/logout")
@jwt_required(verify_type=False)
def logout() -> tuple[str, int]:
    _revoke_presented()
    return "", 204


# ── the seed ────────────────────────────────────────────────────────────────────────────────────


def seed(names: Sequence[str], password: str) -> list[Session]:
    with application.app_context():
        database.create_all()
        hashed = generate_password_hash(password, "pbkdf2:sha256:1")
        users = [User(name=name, password=hashed) for name in names]
        database.session.add_all(users)
        database.session.commit()
        return [
            Session(
                user.name, create_access_token(str(user.id)), create_refresh_token(str(user.id))
            )
            for user in database.session.scalars(select(User))
        ]


if __name__ == "__main__":
    main(seed)
