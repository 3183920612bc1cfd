"""What the Django projects share: everything but the library that is measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import django
from common import SECRET
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher

__all__ = ["OneRound", "add_users", "configure"]


class OneRound(PBKDF2PasswordHasher):
    """Hashing is measured apart."""

    iterations = 1


_LOGGING: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"errors": {"class": "logging.StreamHandler", "level": "ERROR"}},
    "root": {"handlers": ["errors"]},
}


def configure(*, apps: Sequence[str], **others: Any) -> None:
    """Set Django up with these apps and settings, and with no middleware but what they name."""
    url = urlsplit(os.environ["DATABASE_URL"])
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": url.hostname,
        "PORT": url.port,
        "USER": url.username,
        "NAME": url.path.removeprefix("/"),
        "CONN_MAX_AGE": None,  # every thread keeps its connection
    }
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *apps],
        LOGGING=_LOGGING,
        PASSWORD_HASHERS=["django_project.OneRound"],
        SECRET_KEY=SECRET,
        **others,
    )
    django.setup()


def add_users(names: Sequence[str], password: str) -> Sequence[Any]:
    """Make the tables, and these users in them."""
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    users = [User(username=name, email=name, password=make_password(password)) for name in names]
    return User.objects.bulk_create(users)
