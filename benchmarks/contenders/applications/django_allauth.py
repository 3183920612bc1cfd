"""django-allauth, headless, with its JWT tokens: the state of a session is in Django's session.

They are signed with HS256, which costs it less than RS256, its default. ``STATEFUL`` says whether a
check looks up the session, which it does not by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from common import ACCESS_LIFETIME, REFRESH_LIFETIME, Session, main
from django_project import add_users, configure

_BACKEND = "allauth.account.auth_backends.AuthenticationBackend"

configure(
    apps=[
        "django.contrib.sessions",
        "rest_framework",
        "allauth",
        "allauth.account",
        "allauth.headless",
    ],
    ROOT_URLCONF="django_allauth",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
        }
    ],
    AUTHENTICATION_BACKENDS=[_BACKEND],
    SESSION_COOKIE_AGE=int(REFRESH_LIFETIME.total_seconds()),
    ACCOUNT_EMAIL_VERIFICATION="none",
    ACCOUNT_RATE_LIMITS=False,  # all who log in have one address
    HEADLESS_ONLY=True,
    HEADLESS_CLIENTS=["app"],
    HEADLESS_TOKEN_STRATEGY="allauth.headless.tokens.strategies.jwt.JWTTokenStrategy",
    HEADLESS_JWT_ALGORITHM="HS256",
    HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN=int(ACCESS_LIFETIME.total_seconds()),
    HEADLESS_JWT_REFRESH_TOKEN_EXPIRES_IN=int(REFRESH_LIFETIME.total_seconds()),
    HEADLESS_JWT_ROTATE_REFRESH_TOKEN=True,
    HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED=bool(os.environ["STATEFUL"]),
    REST_FRAMEWORK={"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]},
)

from allauth.headless.contrib.rest_framework.authentication import JWTTokenAuthentication
from allauth.headless.tokens.strategies.jwt import internal
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as Row
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.urls import include, path
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class Me(APIView):
    """Who asks."""

    authentication_classes = (JWTTokenAuthentication,)
    permission_classes = (IsAuthenticated,)

    def get(self, request: Request) -> Response:
        return Response({"id": request.user.pk})


urlpatterns = [
    path("_allauth/", include("allauth.headless.urls")),
    path("me", Me.as_view()),
]
application = get_wsgi_application()


def seed(names: Sequence[str], password: str) -> Iterator[Session]:
    rows = []
    users = add_users(names, password)
    with connection.cursor() as cursor:  # by which a login looks, without one of its own
        cursor.execute("CREATE INDEX ON auth_user (upper(username))")
    for user in users:
        row, session = _signed_in(user)
        rows.append(row)
        yield session
    Row.objects.bulk_create(rows)


def _signed_in(user: Any) -> tuple[Row, Session]:
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = _BACKEND
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    row = store.create_model_instance({})  # by which the store has a key, which the tokens name
    access = internal.create_access_token(user, store, {})
    refresh = internal.create_refresh_token(user, store)
    row.session_data = store.encode(dict(store.items()))
    return row, Session(user.username, access, refresh)


if __name__ == "__main__":
    main(seed)
