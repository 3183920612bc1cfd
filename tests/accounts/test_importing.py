"""Users who come from elsewhere, by the line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.accounts import Imported, Outcome, User, UserImport
from keyturn.accounts.importing import ImportedUser
from keyturn.core.errors import StoreUnavailable
from tests.accounts.support import PASSWORD, Town, outcomes
from tests.support import START

# Of "quixotic-otters", as is PASSWORD; made with Werkzeug 3.1.9, and cheaply.
HASH = (
    "pbkdf2:sha256:1000$1b76drUR6WDgtfUv"
    "$8df6bd301c58d5b90ed2de874dcfd219c7db6deb1875796de58a9d2533022225"
)
GRACE = {
    "username": "grace",
    "email": "grace@example.com",
    "fullname": "Grace Hopper",
    "passwordHash": HASH,
}
ADDED, PRESENT = Imported(Outcome.ADDED), Imported(Outcome.PRESENT)


def line(**changes: Any) -> bytes:
    """Of Grace, with these changes; a field that is None is left out."""
    members = GRACE | changes
    return json.dumps(
        {name: value for name, value in members.items() if value is not None}
    ).encode()


async def take(place: Town, *lines: bytes, dry_run: bool = False) -> list[Imported]:
    return await place.accounts.new_import(dry_run=dry_run).take(lines)


async def names(place: Town) -> list[str]:
    return [user.username for user in await place.accounts.list_users()]


async def test_a_user_is_as_the_line_says(place: Town) -> None:
    """Names as they are given; what is left out is as of a user who registers now."""
    told = await take(
        place,
        line(
            username="Grace",
            permissions=["compile", "link"],
            createdAt="2001-02-03T04:05:06+01:00",
            disabled=True,
        ),
        line(username="bob", email="bob@example.com"),
    )

    grace, bob = [await place.accounts.find_user(name) for name in ("grace", "bob")]
    assert told == [ADDED, ADDED]
    assert grace == User(
        id=grace.id,
        username="Grace",
        email="grace@example.com",
        fullname="Grace Hopper",
        permissions=("compile", "link"),
        created_at=981169506,
        disabled_at=START,
    )
    assert (bob.permissions, bob.created_at, bob.disabled_at) == ((), START, None)
    assert len({place.ada.id, grace.id, bob.id}) == 3


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2001-02-03", 981158400),
        ("2001-02-03T04:05:06", 981173106),
        ("2001-02-03T04:05:06Z", 981173106),
        ("2001-02-03T04:05:06.789Z", 981173106),
        ("2001-02-02T20:05:06-08:00", 981173106),
    ],
)
async def test_times_are_read_as_programs_write_them(memory: Town, text: str, time: int) -> None:
    """ISO 8601; UTC unless it says otherwise; to the second."""
    await take(memory, line(createdAt=text))

    assert (await memory.accounts.find_user("grace")).created_at == time


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (line(username="g"), "username must have 3 to 64 characters"),
        (line(username="a@b"), "username must not contain @"),
        (line(email="nowhere"), "email must be of the form name@domain"),
        (line(fullname=""), "fullname must have 1 to 128 characters"),
        (line(passwordHash="plain"), "passwordHash has none of the known forms, or is damaged"),
        (
            line(passwordHash="$2b$20$" + "." * 53),
            "passwordHash takes more work or memory than is allowed here",
        ),
        (line(permissions=["read all"]), "a permission is a word of ASCII without spaces"),
        (line(createdAt="yesterday"), "createdAt must be a time in the past, such as"),
        (line(createdAt="2999-01-01"), "createdAt must be a time in the past, such as"),
        (line(createdAt="1969-12-31"), "createdAt must be a time in the past, such as"),
        (line(createdAt=981158400), "Expected `str | null`, got `int` - at `$.createdAt`"),
        (line(email=None), "Object missing required field `email`"),
        (line(passwordHash=None), "Object missing required field `passwordHash`"),
        (line(isAdmin=True), "Object contains unknown field `isAdmin`"),
        (line(username=7), "Expected `str`, got `int` - at `$.username`"),
        (line(disabled="no"), "Expected `bool`, got `str` - at `$.disabled`"),
        (line(permissions="read"), "Expected `array`, got `str` - at `$.permissions`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"grace", "JSON is malformed"),
        (line(fullname="\udc00"), "JSON is malformed"),
        (b"\xff" + line(), "the line is not UTF-8"),
        (line().replace(b"Hopper", b"\xff"), "the line is not UTF-8"),
    ],
)
async def test_of_a_line_that_will_not_do_nothing_is_taken(
    memory: Town, bad: bytes, why: str
) -> None:
    """It is told why; and those around it are taken."""
    before, after = (line(username=name, email=f"{name}@example.com") for name in ("bob", "eve"))

    told = await take(memory, before, bad, after)

    assert told[0] == told[2] == ADDED
    assert told[1].outcome is Outcome.REFUSED
    assert told[1].why.startswith(why)
    assert await names(memory) == ["Ada", "bob", "eve"]


async def test_no_reason_repeats_a_hash(memory: Town) -> None:
    """H1: what is told of a line, or printed of it, may end up in a log."""
    told = await take(memory, line(passwordHash=HASH[:-1]), line(passwordHash=[HASH]))
    imported = ImportedUser(username="grace", email="", fullname="", password_hash=HASH)

    assert "8df6bd301c58" not in f"{told} {imported!r} {imported}"


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_user_who_is_present_is_told_to_be(place: Town, *, dry_run: bool) -> None:
    """By both names, however they are written; and stays as they were."""
    ada = line(username="ADA", email="ADA@example.com", fullname="Another", disabled=True)
    user_import = place.accounts.new_import(dry_run=dry_run)

    told = await user_import.take([ada, line(), line(fullname="Another")])
    again = await user_import.take([ada, line()])

    assert told == [PRESENT, ADDED, PRESENT]
    assert again == [PRESENT, PRESENT]
    assert await place.accounts.get_user(place.ada.id) == place.ada
    assert await place.accounts.authenticate("ada", PASSWORD) == place.ada


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_name_of_somebody_else_is_told(place: Town, *, dry_run: bool) -> None:
    """It is not the same user where only one of the names is."""
    user_import = place.accounts.new_import(dry_run=dry_run)

    told = await user_import.take(
        [
            line(username="ada"),
            line(email="ada@example.com"),
            line(),
            line(username="ada", email="grace@example.com"),
            line(username="hopper"),
            line(email="hopper@example.com"),
        ]
    )

    of_username, of_email = (
        Imported(Outcome.REFUSED, "username is that of a user with another email"),
        Imported(Outcome.REFUSED, "email is that of a user with another username"),
    )
    assert told == [of_username, of_email, ADDED, of_username, of_email, of_username]


async def test_a_dry_run_adds_nobody(place: Town) -> None:
    """It tells what would be done."""
    assert await take(place, line(), line(), dry_run=True) == [ADDED, PRESENT]
    assert await names(place) == ["Ada"]


async def test_a_name_that_is_taken_meanwhile_is_told(
    memory: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who registers between the look and the adding."""
    add_many = memory.users.add_many

    async def raced(accounts: list[tuple[User, str]]) -> list[bool]:
        await memory.accounts.register("grace", "other@example.com", "Grace", PASSWORD)
        return await add_many(accounts)

    monkeypatch.setattr(memory.users, "add_many", raced)
    bob = line(username="bob", email="bob@example.com")

    told = await take(memory, bob, line())

    assert told == [
        ADDED,
        Imported(Outcome.REFUSED, "username or email was taken while it was imported"),
    ]


async def test_an_import_at_once_with_itself_adds_each_user_once(place: Town) -> None:
    """However many operators press the button."""
    lines = [line(username=f"user{n}", email=f"{n}@example.com") for n in range(50)]

    await outcomes(*(take(place, *lines) for _ in range(4)))

    assert len(await names(place)) == 51


async def test_lines_may_be_taken_again_after_a_fault(
    memory: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: what is known then is known by the store."""
    add_many = memory.users.add_many

    async def lose_the_answer(accounts: list[tuple[User, str]]) -> list[bool]:
        await add_many(accounts)
        monkeypatch.undo()
        raise StoreUnavailable

    monkeypatch.setattr(memory.users, "add_many", lose_the_answer)

    with pytest.raises(StoreUnavailable):
        await take(memory, line())
    assert await take(memory, line()) == [PRESENT]


async def test_nothing_to_take_is_nothing(place: Town) -> None:
    """As of an empty file."""
    assert await take(place) == []


members = st.dictionaries(
    st.sampled_from([*GRACE, "permissions", "createdAt", "disabled", "x"]),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
)


class NoStore:
    """Holds nobody, and adds everybody."""

    async def find_users(self, _: list[str]) -> list[User]:
        return []

    async def add_many(self, accounts: list[tuple[User, str]]) -> list[bool]:
        return [True] * len(accounts)


@given(lines=st.lists(members.map(lambda some: line(**some)) | st.binary(), max_size=5))
async def test_any_line_is_taken_or_refused(lines: list[bytes]) -> None:
    """Whatever somebody's export holds."""

    def make_user(imported: ImportedUser) -> User:
        return User(
            id="id",
            username=imported.username,
            email=imported.email,
            fullname=imported.fullname,
            created_at=0,
        )

    store: Any = NoStore()
    told = await UserImport(store, make_user).take(lines)

    assert len(told) == len(lines)
    assert all(bool(each.why) is (each.outcome is Outcome.REFUSED) for each in told)
