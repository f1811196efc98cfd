import errno
import os
import signal

import pytest

from bert_cn.training import stop_request


def test_sighup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_request.StopRequest() as stop_requested:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop_requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class Terminal:
    """Fails with an error at each write."""

    def __init__(self, number: int):
        self.number = number

    def write(self, _):
        raise OSError(self.number, os.strerror(self.number))

    def flush(self):
        pass


def test_line_for_a_terminal_that_closes_is_discarded(monkeypatch):
    released = []
    monkeypatch.setattr(stop_request, "release_terminal", lambda: released.append(1))
    stop_request.print_line("step 1", Terminal(errno.EIO))
    assert released == [1]
    with pytest.raises(OSError, match="No space left"):
        stop_request.print_line("step 2", Terminal(errno.ENOSPC))
    assert released == [1]
