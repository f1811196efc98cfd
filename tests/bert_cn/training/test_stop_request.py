import os
import signal

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
