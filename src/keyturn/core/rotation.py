"""What an old refresh token means. ``decide`` is the one place that judges; nothing else does.

With the session's generations on a line, every turn moves four marks to the right::

              previous parent       parent       first child ... generation
    inside       older | late, late, replay, late, | echo, echo,    echo    | resume
    outside      reuse | reuse       recover       | rotate         rotate  | resume

Of the children those below ``previous_parent`` are left behind: they rotate inside the window too.

The window opens with each change of the generations and is ``policy.retry_window`` long. Inside
it the generations hardly ever change; so a storm of exchanges costs reads alone.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from .model import DAY, LAST_GENERATION, EndReason, Policy, Session

__all__ = ["Decision", "Verdict", "absolute_end", "decide", "ending", "idle_end"]


class Verdict(StrEnum):
    """The eight answers to a genuine refresh token."""

    ECHO = "echo"
    REPLAY = "replay"
    LATE = "late"
    ROTATE = "rotate"
    RECOVER = "recover"
    REUSE = "reuse"
    RESUME = "resume"
    ENDED = "ended"


class Decision(msgspec.Struct, frozen=True):
    """``session`` is the row afterwards: the same object where nothing is to be written."""

    verdict: Verdict
    session: Session | None
    handed_out: int | None = None
    """The generation of the refresh token in the answer, if there is one."""


def decide(session: Session | None, presented: int, now: int, policy: Policy) -> Decision:
    """Judge generation ``presented`` of a token that is ours, as the row stands at ``now``."""
    if session is None or session.ended_at is not None:
        return Decision(Verdict.ENDED, session)
    reason = ending(session, now, policy)
    # A token newer than the row shows that the store lost commits, so its idle time is not known.
    if reason is EndReason.ABSOLUTE or (reason and presented <= session.generation):
        return Decision(Verdict.ENDED, _ended(session, now, reason))
    if presented > session.generation:
        resumed = replace(
            session,
            generation=presented,
            turned_at=now,
            used_before=_used_before(session, now),
        )
        return Decision(Verdict.RESUME, resumed, presented)
    if _inside_window(session, now, policy) and not _is_left_behind(session, presented):
        return _judge_inside(session, presented, now)
    return _judge_outside(session, presented, now, policy)


def _judge_inside(session: Session, presented: int, now: int) -> Decision:
    if presented >= session.first_child:
        return Decision(Verdict.ECHO, session, presented)
    if presented == session.parent:
        return Decision(Verdict.REPLAY, session, session.generation)
    if presented >= session.previous_parent:
        return Decision(Verdict.LATE, session)
    return _reuse(session, now)


def _judge_outside(session: Session, presented: int, now: int, policy: Policy) -> Decision:
    child = session.generation + 1
    if presented >= session.first_child:
        turned = replace(
            session,
            previous_parent=session.parent,
            parent=presented,
            first_child=child,
            generation=child,
            turned_at=now,
            used_before=_used_before(session, now),
        )
        return Decision(Verdict.ROTATE, turned, child)
    if presented == session.parent and policy.recover:
        # This supersedes nothing, so nothing is late after it: else a thief who has the parent
        # recovered at the end of every window would keep the victim late for ever.
        recovered = replace(
            session,
            previous_parent=session.generation,
            generation=child,
            turned_at=now,
            used_before=_used_before(session, now),
        )
        return Decision(Verdict.RECOVER, recovered, child)
    return _reuse(session, now)


def _used_before(session: Session, now: int) -> int | None:
    """The last use before the day of ``now``, at which the session is used again."""
    last_used_at = session.last_used_at
    return last_used_at if last_used_at // DAY < now // DAY else session.used_before


def _is_left_behind(session: Session, presented: int) -> bool:
    """Whether it is a child from before the last recovery but one. Who holds it would not have had
    the parent recovered since; so somebody else did, in whose windows it would be echoed for ever.
    """
    return session.first_child <= presented < session.previous_parent


def _reuse(session: Session, now: int) -> Decision:
    return Decision(Verdict.REUSE, _ended(session, now, EndReason.REUSE_DETECTED))


def _ended(session: Session, now: int, reason: EndReason) -> Session:
    return replace(session, secret=None, ended_at=now, end_reason=reason)


def _inside_window(session: Session, now: int, policy: Policy) -> bool:
    """A clock up to one window behind the one that turned counts as inside."""
    return (
        session.turned_at is not None
        and policy.retry_window > 0
        and -policy.retry_window <= now - session.turned_at <= policy.retry_window
    )


def ending(session: Session, now: int, policy: Policy) -> EndReason | None:
    """The end that a living session has reached at ``now``, if any."""
    if now >= absolute_end(session, policy) or session.generation >= LAST_GENERATION:
        return EndReason.ABSOLUTE
    if now >= idle_end(session, policy):
        return EndReason.IDLE
    return None


def absolute_end(session: Session, policy: Policy) -> int:
    """When the session ends in any case."""
    return session.created_at + policy.absolute_lifetime


def idle_end(session: Session, policy: Policy) -> int:
    """When the session ends unless it is exchanged before."""
    return session.last_used_at + policy.idle_timeout
