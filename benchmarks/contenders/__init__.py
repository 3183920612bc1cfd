"""Those that Keyturn is measured beside, and Keyturn itself."""

from . import (
    allauth,
    better_auth,
    classic,
    fastapi_users,
    flask_jwt,
    oauth_toolkit,
    oidc_provider,
    simplejwt,
    yardsticks,
)
from .keyturn import IN_WINDOW, KEYTURN, MORE_TOKENS, NEW_TOKENS, STORM, WITH_RETRIES

__all__ = ["AS_THEY_COME", "CONTENDERS"]

_OTHERS = (
    classic.TUNED,
    classic.AS_WRITTEN,
    oidc_provider.CONTENDER,
    better_auth.RENEWING,
    better_auth.CHECKING,
    simplejwt.SIMPLEJWT,
    allauth.ALLAUTH,
    oauth_toolkit.OAUTH_TOOLKIT,
    flask_jwt.FLASK_JWT,
    fastapi_users.FASTAPI_USERS_JWT,
    fastapi_users.FASTAPI_USERS_DATABASE,
)

CONTENDERS = (
    *KEYTURN,
    IN_WINDOW,
    STORM,
    MORE_TOKENS,
    NEW_TOKENS,
    *_OTHERS,
    yardsticks.ECHO,
    yardsticks.TWO_STATEMENTS,
)
AS_THEY_COME = (
    WITH_RETRIES,
    *_OTHERS,
    allauth.ALLAUTH_STATEFUL,
    oauth_toolkit.OAUTH_TOOLKIT_PROTECTED,
    oauth_toolkit.OAUTH_TOOLKIT_WITH_GRACE,
)
"""Those whose rules are tried: as they come, and with settings that change them. Keyturn's are the
same on every database and server.
"""
