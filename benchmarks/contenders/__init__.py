"""Those that Keyturn is measured beside, and Keyturn itself."""

from . import better_auth, classic, oidc_provider
from .keyturn import KEYTURN

__all__ = ["CONTENDERS"]

CONTENDERS = (
    *KEYTURN,
    classic.TUNED,
    classic.AS_WRITTEN,
    oidc_provider.CONTENDER,
    better_auth.RENEWING,
    better_auth.CHECKING,
)
