"""Users in PostgreSQL keep the laws of a ``UserStore``, which are those of every other."""

from __future__ import annotations

from tests.accounts.test_user_stores import *  # noqa: F403  its tests, on the ``store`` of here

del store, test_users_outlive_the_process  # noqa: F821  the other stores, and a file
