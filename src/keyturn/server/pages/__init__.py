"""The pages of ``keyturn serve``: people log in and register here, and see to their account."""
