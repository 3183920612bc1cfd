"""django-oauth-toolkit, with a public client, which has no secret to hash and to compare.

``GRACE_SECONDS`` says how long a refresh token that has been rotated is answered still, by the
tokens that it was exchanged for; ``REUSE_PROTECTION``, whether one that comes later ends its
session.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from typing import Any

from common import ACCESS_LIFETIME, Session, main
from django_project import add_users, configure

configure(
    apps=["oauth2_provider"],
    ROOT_URLCONF="django_oauth_toolkit",
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": int(ACCESS_LIFETIME.total_seconds()),
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": int(os.environ["GRACE_SECONDS"]),
        # False by itself, though its own checks for production ask for it.
        "REFRESH_TOKEN_REUSE_PROTECTION": bool(os.environ["REUSE_PROTECTION"]),
        # They ask for tokens that are stored hashed, too. But then a token that is presented
        # several times at once is answered by 500: the tokens to repeat are not known any more.
        "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": False,
    },
)

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.utils import timezone
from oauth2_provider.decorators import protected_resource
from oauth2_provider.models import AccessToken, Application, RefreshToken
from oauthlib.common import generate_token


@protected_resource(scopes=["read"])
def me(request: HttpRequest) -> JsonResponse:
    """Who asks."""
    return JsonResponse({"id": request.resource_owner.pk})


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("me", me),
]
application = get_wsgi_application()


def seed(names: Sequence[str], password: str) -> list[Session]:
    sessions = [Session(name, generate_token(), generate_token()) for name in names]
    users = add_users(names, password)
    client = Application.objects.create(
        client_id="bench",
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_PASSWORD,
    )
    rows = [_rows(client, *pair) for pair in zip(users, sessions, strict=True)]
    AccessToken.objects.bulk_create(access for access, _ in rows)
    RefreshToken.objects.bulk_create(refresh for _, refresh in rows)
    return sessions


def _rows(client: Application, user: Any, session: Session) -> tuple[AccessToken, RefreshToken]:
    access = AccessToken(
        token=session.access,
        user=user,
        application=client,
        scope="read write",
        expires=timezone.now() + ACCESS_LIFETIME,
    )
    refresh = RefreshToken(
        token=session.refresh,
        user=user,
        application=client,
        access_token=access,
        token_family=uuid.uuid4(),
    )
    return access, refresh


if __name__ == "__main__":
    main(seed)
