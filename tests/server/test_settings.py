"""Settings: one table, each value read or refused by name."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from keyturn.core.errors import ConfigurationError
from keyturn.server.settings import Settings, check_binding, load_settings, settings_table

HOME = {"XDG_DATA_HOME": "/data"}


def load(**environment: str) -> Settings:
    return load_settings(HOME | environment)


def toml(folder: Path, text: str) -> Path:
    file = folder / "keyturn.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_any_setting_all_have_their_defaults() -> None:
    """Nothing has to be set: the data folder, the database and the public URL are derived."""
    settings = load()

    assert settings.data_dir == Path("/data/keyturn")
    assert settings.database_url == "sqlite:////data/keyturn/keyturn.db"
    assert settings.public_url == "http://127.0.0.1:8000"
    assert (settings.access_ttl, settings.retry_window, settings.recover) == (600, 30, True)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"STATE_DIRECTORY": "/state:/other", "XDG_DATA_HOME": "/data"}, "/state"),
        ({"XDG_DATA_HOME": "/data"}, "/data/keyturn"),
        ({"KEYTURN_DATA_DIR": "/mine", "STATE_DIRECTORY": "/state"}, "/mine"),
    ],
)
def test_the_data_folder_is_where_the_system_wants_it(
    environment: dict[str, str], folder: str
) -> None:
    """What systemd hands over goes before what the desktop says; a setting goes before both."""
    assert load_settings(environment).data_dir == Path(folder)


def test_the_data_folder_is_in_the_home_folder_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without other word it is where XDG says that data lives."""
    monkeypatch.setenv("HOME", "/home/ada")

    assert load_settings({}).data_dir == Path("/home/ada/.local/share/keyturn")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A setting of the file holds unless the environment has it too."""
    config = toml(tmp_path, "access_ttl = 60\nretry_window = 20\n")

    settings = load_settings({"KEYTURN_ACCESS_TTL": "90"}, config)

    assert (settings.access_ttl, settings.retry_window) == (90, 20)


def test_the_file_may_use_the_types_of_toml(tmp_path: Path) -> None:
    """Numbers, truth values and lists need no quotes."""
    config = toml(
        tmp_path,
        'recover = false\ntrusted_origins = ["https://a.example", "https://b.example"]\n',
    )

    settings = load_settings({}, config)

    assert settings.recover is False
    assert settings.trusted_origins == ("https://a.example", "https://b.example")


def test_a_base_path_ends_without_a_slash() -> None:
    """A public URL may be written with or without a slash at its end."""
    assert load(KEYTURN_PUBLIC_URL="https://a.example/auth/").public_url == "https://a.example/auth"


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("KEYTURN_ACCESS_TTL", "ten minutes", "must be a whole number of seconds"),
        ("KEYTURN_ACCESS_TTL", "600.0", "must be a whole number of seconds"),
        ("KEYTURN_ACCESS_TTL", "-1", "must be a whole number of seconds"),
        ("KEYTURN_ACCESS_TTL", "", "must be a whole number of seconds"),
        ("KEYTURN_ACCESS_TTL", "٦٠٠", "must be a whole number of seconds"),
        ("KEYTURN_IDLE_TIMEOUT", "9" * 5000, "must be a whole number of seconds"),
        ("KEYTURN_MAX_SESSIONS", "many", "must be a whole number"),
        ("KEYTURN_RECOVER", "yes", "must be one of true, false"),
        ("KEYTURN_SIGNING_ALGORITHM", "ES265", "did you mean ES256?"),
        ("KEYTURN_SIGNING_ALGORITHM", "none", "must be one of ES256, EdDSA, RS256"),
        ("KEYTURN_TOKENS_IN_BODY", "sometimes", "must be one of auto, always, never"),
        ("KEYTURN_COOKIE_SAMESITE", "Lax", "did you mean lax?"),
        ("KEYTURN_REGISTRATION", "shut", "must be one of open, closed"),
        ("KEYTURN_ON_STALE", "panic", "must be one of allow, refuse"),
        ("KEYTURN_LOG_LEVEL", "warn", "did you mean warning?"),
        ("KEYTURN_LOG_FORMAT", "xml", "must be one of json, text"),
        ("KEYTURN_TRUSTED_PROXIES", "10.0.0.1/8", "must be addresses or networks"),
        ("KEYTURN_TRUSTED_PROXIES", "proxy.example", "must be addresses or networks"),
        ("KEYTURN_TRUSTED_PROXIES", "127.0.0.1,0.0.0.0/0", "must not be everybody"),
        ("KEYTURN_TRUSTED_PROXIES", "::/0", "must not be everybody"),
        ("KEYTURN_DATABASE_URL", "mysql://db/keyturn", "must be sqlite:///PATH"),
        ("KEYTURN_DATABASE_URL", "sqlite:///", "must be sqlite:///PATH"),
        ("KEYTURN_DATA_DIR", "", "must be printable text"),
        ("KEYTURN_ISSUER", "a\nb", "must be printable text"),
        ("KEYTURN_SECRET", "", "must not be empty"),
        ("KEYTURN_SECRET", " , ", "must not be empty"),
        ("KEYTURN_SECRET_FILE", "", "must not be empty"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(name: str, text: str, advice: str) -> None:
    """The message names the setting and says what would do."""
    with pytest.raises(ConfigurationError) as refused:
        load(**{name: text})

    assert str(refused.value).startswith(f"{name}: ")
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("KEYTURN_ACESS_TTL", "did you mean KEYTURN_ACCESS_TTL?"),
        ("KEYTURN_access_ttl", "there is no such setting"),
        ("KEYTURN_METRICS", "there is no such setting"),
        ("KEYTURN_SERVICE_HOSTS", "there is no such setting"),
        ("KEYTURN_PORT", "there is no such setting"),
        ("KEYTURN_ZZZ", "`keyturn serve --help` lists them"),
    ],
)
def test_an_unknown_variable_is_refused(name: str, advice: str) -> None:
    """A mistyped name is never passed over in silence."""
    with pytest.raises(ConfigurationError, match=rf"^{name}: ") as refused:
        load(**{name: "1"})

    assert advice in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KEYTURN_SERVICE_HOST", "10.0.0.1"),
        ("KEYTURN_SERVICE_PORT", "8000"),
        ("KEYTURN_SERVICE_PORT_HTTP", "8000"),
        ("KEYTURN_PORT", "tcp://10.0.0.1:8000"),
        ("KEYTURN_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("KEYTURN_PORT_8000_TCP_PROTO", "tcp"),
        ("KEYTURN_PORT_8000_TCP_PORT", "8000"),
        ("KEYTURN_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("KEYTURN_STAGING_SERVICE_HOST", "fd00::1"),
    ],
)
def test_what_kubernetes_tells_of_a_service_is_no_setting(name: str, text: str) -> None:
    """Every container there has it beside a service called ``keyturn``."""
    assert load(**{name: text}) == load()


@pytest.mark.parametrize(
    ("text", "label", "advice"),
    [
        ("acess_ttl = 60", "acess_ttl in ", "did you mean access_ttl?"),
        ("KEYTURN_ACCESS_TTL = 60", "KEYTURN_ACCESS_TTL in ", "there is no such setting"),
        ("access_ttl = 60.5", "access_ttl in ", "must be a whole number of seconds"),
        ("access_ttl = [60]", "access_ttl in ", "must be a whole number of seconds"),
        ("issuer = 60.5", "issuer in ", "must be text, a whole number"),
        ("access_ttl = true", "access_ttl in ", "must be a whole number of seconds"),
        ("trusted_origins = [1]", "trusted_origins in ", "a list of texts"),
        ("[server]\naccess_ttl = 60", "server in ", "there is no such setting"),
        ("access_ttl", "--config", "is not TOML"),
        ("access_ttl = 1\naccess_ttl = 2", "--config", "is not TOML"),
    ],
)
def test_a_bad_line_of_the_file_is_refused_by_name(
    tmp_path: Path, text: str, label: str, advice: str
) -> None:
    """The message says what is wrong in which file."""
    config = toml(tmp_path, text)

    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, config)

    assert str(refused.value).startswith(label)
    assert str(config) in str(refused.value)
    assert advice in str(refused.value)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"\xff"), lambda _: 0])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, make: object) -> None:
    """An absent file, a folder, and bytes that are no text are no reason for a traceback."""
    config = tmp_path / "keyturn.toml"
    make(config)  # type: ignore[operator]

    with pytest.raises(ConfigurationError, match=r"^--config: .*keyturn.toml"):
        load_settings({}, config)


def test_secrets_come_from_one_place() -> None:
    """Which of two would sign must never be a matter of reading the manual."""
    with pytest.raises(ConfigurationError, match=r"^KEYTURN_SECRET: .*keep one of the two"):
        load(KEYTURN_SECRET="x" * 32, KEYTURN_SECRET_FILE="/secret")


def test_a_secret_shows_in_no_representation() -> None:
    """Settings may be printed."""
    assert "sesame" not in repr(load(KEYTURN_SECRET="open-sesame"))
    assert "sesame" not in repr(load(KEYTURN_REVOCATIONS_TOKEN="open-sesame"))


def test_a_secret_shows_in_no_message(tmp_path: Path) -> None:
    """A value that is refused is not repeated, as it may be a secret in the wrong place."""
    config = toml(tmp_path, 'signing_algorithm = "open-sesame"')

    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, config)

    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_https(host: str) -> None:
    """Trying it out takes no certificate."""
    settings = load(KEYTURN_COOKIE_INSECURE_HTTP="true")

    check_binding(settings, host)  # raises nothing


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_another_host_needs_an_https_public_url(host: str) -> None:
    """A11: cookies are not sent in the clear over a network."""
    with pytest.raises(ConfigurationError, match=r"^KEYTURN_PUBLIC_URL: .*https://"):
        check_binding(load(), host)


def test_another_host_will_do_with_an_https_public_url() -> None:
    """Behind a proxy that speaks TLS, any address will do."""
    settings = load(KEYTURN_PUBLIC_URL="https://a.example")

    check_binding(settings, "0.0.0.0")  # raises nothing


def test_insecure_cookies_are_refused_beyond_loopback() -> None:
    """A11: the switch for development does nothing for production, whatever the public URL."""
    settings = load(KEYTURN_PUBLIC_URL="https://a.example", KEYTURN_COOKIE_INSECURE_HTTP="true")

    with pytest.raises(ConfigurationError, match=r"^KEYTURN_COOKIE_INSECURE_HTTP: "):
        check_binding(settings, "0.0.0.0")


def test_every_setting_says_what_it_is_for() -> None:
    """The table behind --help has a name, and a purpose without a full stop, for each."""
    rows = list(settings_table())

    assert len(rows) == len(Settings.__dataclass_fields__)
    assert all(name.startswith("KEYTURN_") and purpose for name, _, purpose in rows)


def test_every_default_that_is_shown_is_one_that_can_be_set() -> None:
    """What --help shows as a default may be put into the environment as it is."""
    derived = {"KEYTURN_PUBLIC_URL", "KEYTURN_DATA_DIR", "KEYTURN_DATABASE_URL"}
    derived |= {"KEYTURN_SECRET", "KEYTURN_SECRET_FILE", "KEYTURN_ISSUER", "KEYTURN_AUDIENCE"}
    shown = {name: default for name, default, _ in settings_table() if name not in derived}

    assert load(**shown) == load()


def test_the_page_of_settings_is_what_the_table_says() -> None:
    """Run scripts/build_settings_page.py after a change of the table."""
    root = Path(__file__).parents[2]
    page = runpy.run_path(str(root / "scripts" / "build_settings_page.py"))["page"]()

    assert (root / "docs" / "settings.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://keyturn:aB3/xY=@db.example/keyturn",
        "postgresql://keyturn:aB3?xY=@db.example/keyturn",
        "postgresql://keyturn:aB3#xY=@db.example/keyturn",
        "postgresql://keyturn:aB3[xY=@db.example/keyturn",
        "postgresql://db.example/keyturn?user=keyturn&password=aB3",
    ],
)
def test_a_password_that_would_be_shown_is_refused(url: str) -> None:
    """H1: where it is not before the host, or ends it, it would be taken for something else."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"KEYTURN_DATA_DIR": "/data", "KEYTURN_DATABASE_URL": url})

    assert "KEYTURN_DATABASE_URL: must have " in str(refused.value)
    assert "aB3/xY" not in str(refused.value).replace("aB3%2FxY", "")
