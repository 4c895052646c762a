"""A Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the program is. If that is a finaliser or a callback from C, the exception is reported and
dropped, and a long training would go on as if nothing had been pressed. So the press is remembered, and whoever shows progress
raises it again.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_pressed = threading.Event()


def _remember(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    raise KeyboardInterrupt


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Remember a Ctrl-C inside this block; where it is ignored or handled by somebody else, it stays so."""
    _pressed.clear()
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, _remember)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_if_pressed() -> None:
    """Raise the KeyboardInterrupt that was dropped somewhere.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed and the program still runs.
    """
    if _pressed.is_set():
        raise KeyboardInterrupt
