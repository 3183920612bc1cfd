"""Writes docs/settings.md from the table of settings: python scripts/build_settings_page.py"""

from __future__ import annotations

from pathlib import Path

from keyturn.server.settings import settings_table

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
INTRODUCTION = """\
# Settings

From the environment, or from a TOML file (`--config FILE`) as names in lower case without
`KEYTURN_`; the environment wins. Times are whole seconds; lists are separated by commas, and may be
arrays in TOML. What is unknown or impossible is an error at start that names the setting.

| setting | default | |
|---|---|---|
"""


def page() -> str:
    """The whole page, as it is to be."""
    return INTRODUCTION + "".join(
        f"| `{name}` | {f'`{default}`' if default else ''} | {purpose}. |\n"
        for name, default, purpose in settings_table()
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
