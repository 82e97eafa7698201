"""Threads for foreign work that may hang: those who did not ask for it go on, and the process can end.

Python waits for the threads of ``concurrent.futures`` before it ends, for one that hangs without an end.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

IDLE_S: Final = 10.0
"""After so long without work a thread ends."""


class Daemons:
    """At most ``most`` threads, started when there is work."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0
        self._lock = Lock()

    def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """What ``function`` gives, called in one of the threads, in the caller's context.

        Work that is cancelled before its turn is never begun; what has begun goes on, its result unheard.
        """
        future: Future[T] = Future()
        self._work.put(partial(_do, future, partial(copy_context().run, function, *args, **kwargs)))
        with self._lock:
            if self._threads < self._most:
                self._threads += 1
                Thread(target=self._run, name=self._name, daemon=True).start()
        return asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    # Work that came this very moment finds a thread too many, and starts none.
                    if self._work.empty():
                        self._threads -= 1
                        return
            else:
                work()
                del work  # it holds the result, and would until the next comes


def _do(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
