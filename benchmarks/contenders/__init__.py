"""Those that Keyturn is measured beside, and Keyturn itself."""

from .keyturn import KEYTURN

__all__ = ["CONTENDERS"]

CONTENDERS = KEYTURN
