"""Progress of the data stage: a bar on a terminal, plain lines elsewhere."""

import sys
import time

import tqdm

_LINE_SECONDS = 30.0
_MB = 1e6


class Progress:
    """Shows MB done of total, sequences, MB/s and the time left, on standard error.

    Args:
        task: a verb in -ing, the first word of each line.
        total_bytes: size of the text.
        done_bytes: bytes that an earlier run has done.
    """

    def __init__(self, task: str, total_bytes: int, done_bytes: int = 0):
        self._task = task
        self._total = total_bytes
        self._before = min(done_bytes, total_bytes)
        self._done = 0.0
        self._sequences = 0
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm.tqdm(
                desc=task,
                total=round(total_bytes / _MB, 1),
                initial=round(self._before / _MB, 1),
                unit="MB",
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} MB "
                "[{elapsed}<{remaining}, {rate_fmt}{postfix}]",
            )

    def add(self, num_bytes: float, sequences: int = 0) -> None:
        """Count text that was processed and sequences that were written."""
        self._done += num_bytes
        self._sequences += sequences
        if self._bar is not None:
            if self._sequences:
                self._bar.set_postfix_str(f"{self._sequences} sequences", refresh=False)
            self._bar.update(num_bytes / _MB)
        elif time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.monotonic()
            print(self.describe(), file=sys.stderr, flush=True)

    def describe(self) -> str:
        """Return the state as one line."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self._done / seconds
        done = self._before + self._done
        left = (self._total - done) / rate if rate else float("inf")
        sequences = f"{self._sequences} sequences, " if self._sequences else ""
        return (
            f"{self._task}: {done / _MB:.1f}/{self._total / _MB:.1f} MB, {sequences}"
            f"{rate / _MB:.2f} MB/s, {left:.0f} s left"
        )

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
