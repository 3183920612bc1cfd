"""Protocols one step beside ours, and wrong: each has a history that the search must find.

They are written as what they change: ``decide`` judges, and the neighbour overrules it.
"""

from msgspec.structs import replace

from keyturn.core.model import Policy, Session
from keyturn.core.rotation import Decision, Verdict, decide

from .histories import BROWSER, JSON_CLIENT, Client

COOKIE_SET_ON_ECHO = Client(BROWSER.heeds | {Verdict.ECHO, Verdict.RESUME})
JSON_CLIENT_THAT_STORES_EVERY_ANSWER = Client(JSON_CLIENT.heeds)


def rotating_always(session: Session | None, g: int, now: int, policy: Policy) -> Decision:
    """A child rotates at any time, and only the parent is accepted for a while."""
    decision = decide(session, g, now, policy)
    if session is not None and decision.verdict is Verdict.ECHO:
        return decide(_outside(session), g, now, policy)
    if session is not None and decision.verdict is Verdict.LATE:
        return _reuse(session, now, policy)
    return decision


def minting_inside_the_window(
    session: Session | None, g: int, now: int, policy: Policy
) -> Decision:
    """A replay hands out a child of its own instead of the newest there is."""
    decision = decide(session, g, now, policy)
    if session is None or decision.verdict is not Verdict.REPLAY:
        return decision
    minted = decide(_outside(session), g, now, policy)
    assert minted.session is not None
    same_window = replace(minted.session, turned_at=session.turned_at)
    return Decision(Verdict.REPLAY, same_window, minted.handed_out)


def late_is_reuse(session: Session | None, g: int, now: int, policy: Policy) -> Decision:
    """What this very turn superseded is held against the client."""
    decision = decide(session, g, now, policy)
    if session is not None and decision.verdict is Verdict.LATE:
        return _reuse(session, now, policy)
    return decision


def late_without_bound(session: Session | None, g: int, now: int, policy: Policy) -> Decision:
    """Inside the window any old token is late, however old."""
    decision = decide(session, g, now, policy)
    inside = session is not None and decide(session, session.generation, now, policy)
    if inside and inside.verdict is Verdict.ECHO and decision.verdict is Verdict.REUSE:
        return Decision(Verdict.LATE, session)
    return decision


def recover_keeps_the_bound(session: Session | None, g: int, now: int, policy: Policy) -> Decision:
    """A recover supersedes nothing, and what was late before it is late again."""
    decision = decide(session, g, now, policy)
    if session is None or decision.session is None or decision.verdict is not Verdict.RECOVER:
        return decision
    same_bound = replace(decision.session, previous_parent=session.previous_parent)
    return Decision(Verdict.RECOVER, same_bound, decision.handed_out)


def nobody_left_behind(session: Session | None, g: int, now: int, policy: Policy) -> Decision:
    """Inside the window every child is echoed, whoever keeps opening the windows."""
    decision = decide(session, g, now, policy)
    inside = session is not None and decide(session, session.generation, now, policy)
    if inside and inside.verdict is Verdict.ECHO and decision.verdict is Verdict.ROTATE:
        return Decision(Verdict.ECHO, session, g)
    return decision


def forgiving(session: Session | None, g: int, now: int, policy: Policy) -> Decision:
    """Whoever kept a copy is refused, and the session lives on."""
    decision = decide(session, g, now, policy)
    if decision.verdict is Verdict.REUSE:
        return Decision(Verdict.LATE, session)
    return decision


def newer_is_reuse(session: Session | None, g: int, now: int, policy: Policy) -> Decision:
    """A token newer than the row is taken for stolen."""
    decision = decide(session, g, now, policy)
    if session is not None and decision.verdict is Verdict.RESUME:
        return _reuse(session, now, policy)
    return decision


def a_clock_behind_is_outside(
    session: Session | None, g: int, now: int, policy: Policy
) -> Decision:
    """A window that opens in the future is no window."""
    if session is not None and session.turned_at is not None and now < session.turned_at:
        return decide(_outside(session), g, now, policy)
    return decide(session, g, now, policy)


def _outside(session: Session) -> Session:
    return replace(session, turned_at=None)


def _reuse(session: Session, now: int, policy: Policy) -> Decision:
    no_child_and_no_parent = session.parent - 1
    return decide(_outside(session), no_child_and_no_parent, now, policy)
