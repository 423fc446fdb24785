"""Calls that may never come back, made in a thread that can be left behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

#: A driver answers in milliseconds; one that takes seconds is stuck.
DEADLINE_S = 5.0

#: The threads that were left behind, by name. While one is stuck no other is started under its
#: name: a caller that asks every second would otherwise leave a thread a second.
_left_behind: dict[str, threading.Thread] = {}


def answer_within(deadline_s: float, call: Callable[[], Answer], *, name: str) -> Answer:
    """Return what ``call`` returns, or raise what it raises, unless it takes too long.

    A call that hangs in C keeps its daemon thread, which does not keep the process alive.

    Args:
        deadline_s: How long to wait.
        call: What to do. It may still finish after the deadline, so it must own what it changes.
        name: Whom it calls, for the message.

    Raises:
        TimeoutError: No answer in time, or an earlier call to ``name`` is still stuck.
    """
    silent = TimeoutError(f"{name} did not answer within {deadline_s:g} s")
    stuck = _left_behind.get(name)
    if stuck is not None and stuck.is_alive():
        raise silent
    answers: queue.SimpleQueue[tuple[Answer, None] | tuple[None, Exception]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # carried over to the caller's thread
            answers.put((None, error))

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        answer, error = answers.get(timeout=deadline_s)
    except queue.Empty:
        _left_behind[name] = thread
        raise silent from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # mypy does not pair the halves of the union
