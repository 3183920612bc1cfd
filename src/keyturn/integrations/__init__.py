"""Keyturn in other people's servers and frameworks; each module is thin."""
