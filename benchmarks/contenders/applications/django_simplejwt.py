"""Django REST framework with simplejwt: refresh tokens rotate, and go to its blacklist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common import ACCESS_LIFETIME, REFRESH_LIFETIME, Session, main
from django_project import add_users, configure

configure(
    apps=["rest_framework", "rest_framework_simplejwt", "rest_framework_simplejwt.token_blacklist"],
    ROOT_URLCONF="django_simplejwt",
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework_simplejwt.authentication.JWTAuthentication"
        ],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    SIMPLE_JWT={
        "ACCESS_TOKEN_LIFETIME": ACCESS_LIFETIME,
        "REFRESH_TOKEN_LIFETIME": REFRESH_LIFETIME,
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
    },
)

from django.core.wsgi import get_wsgi_application
from django.db import transaction
from django.urls import path
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.tokens import RefreshToken
from rest_framework_simplejwt.views import (
    TokenBlacklistView,
    TokenObtainPairView,
    TokenRefreshView,
)


class Me(APIView):
    """Who asks."""

    permission_classes = (IsAuthenticated,)

    def get(self, request: Request) -> Response:
        return Response({"id": request.user.pk})


urlpatterns = [
    path("token/", TokenObtainPairView.as_view()),
    path("token/refresh/", TokenRefreshView.as_view()),
    path("token/blacklist/", TokenBlacklistView.as_view()),
    path("me", Me.as_view()),
]
application = get_wsgi_application()


@transaction.atomic
def seed(names: Sequence[str], password: str) -> list[Session]:
    return list(_sessions(names, password))


def _sessions(names: Sequence[str], password: str) -> Iterator[Session]:
    for user in add_users(names, password):
        refresh = RefreshToken.for_user(user)
        yield Session(user.username, str(refresh.access_token), str(refresh))


if __name__ == "__main__":
    main(seed)
