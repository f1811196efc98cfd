"""Run the groups of a job, here or on several processes; the results are the same."""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator

from data_prep.records import build, tfrecords
from data_prep.records.settings import Settings
from data_prep.runner import spill
from data_prep.text import counts as counts_lib
from data_prep.text import vocab

_POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class GroupJob:
    """What a worker needs to make any group's part file.

    Attributes:
        settings: checked settings.
        vocabulary: the WordPiece vocabulary.
        folder: local folder with the spill files, where the parts go.
    """

    settings: Settings
    vocabulary: vocab.Vocabulary
    folder: str

    def part_path(self, group: int) -> str:
        """Return where a group's finished records lie."""
        return os.path.join(self.folder, f"group-{group:06d}.tfrecord")

    def counts_path(self, group: int) -> str:
        """Return where a group's counts lie, which are written behind its part."""
        return os.path.join(self.folder, f"group-{group:06d}.counts.json")

    def is_made(self, group: int) -> bool:
        """Say whether a group's part is there, whole."""
        # A part is gone once its shard is; the shard may be gone by now too.
        return all(
            map(os.path.exists, (self.counts_path(group), self.part_path(group)))
        )

    def read_counts(self, group: int) -> counts_lib.Counts | None:
        """Return a finished group's counts, None if it is not finished."""
        if not os.path.exists(self.counts_path(group)):
            return None
        with open(self.counts_path(group), encoding="utf-8") as file:
            return json.load(file)


# Told (bytes of text, sequences) since its last call.
Report = Callable[[float, int], None]


def make_part(
    job: GroupJob, maker: build.GroupRecordMaker, group: int, report: Report
) -> None:
    """Write one group's records, then its counts."""
    documents = spill.load_group(job.folder, group)
    text_bytes = spill.group_bytes(job.folder, group)
    counts: counts_lib.Counts = {}

    def batches() -> Iterator[list[bytes]]:
        reported = 0.0
        for block in maker.make(documents, group):
            counts_lib.add(counts, block.counts)
            report((block.done - reported) * text_bytes, len(block.records))
            reported = block.done
            yield block.records

    # The process's own name: a killed run's worker may live a moment longer.
    own = f".{os.getpid()}.partial"
    partial = job.part_path(group) + own
    tfrecords.write_records(partial, batches())
    os.replace(partial, job.part_path(group))
    partial = job.counts_path(group) + own
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(counts, file)
    os.replace(partial, job.counts_path(group))


def make_parts(
    job: GroupJob, groups: list[int], num_workers: int, report: Report
) -> Iterator[int]:
    """Make the parts of some groups; yield each group's number when it is finished.

    Raises:
        ValueError: a worker process died.
    """
    if min(num_workers, len(groups)) < 2:
        maker = build.GroupRecordMaker(job.settings, job.vocabulary)
        for group in groups:
            make_part(job, maker, group, report)
            yield group
        return
    # Spawned, not forked: TensorFlow does not survive a fork.
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    executor = concurrent.futures.ProcessPoolExecutor(
        min(num_workers, len(groups)), context, _start_worker, (job, reports)
    )
    try:
        running = {executor.submit(_work, group): group for group in groups}
        while running:
            done, _ = concurrent.futures.wait(
                running, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED
            )
            while not reports.empty():
                report(*reports.get())
            for future in done:
                future.result()
                yield running.pop(future)
        executor.shutdown()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise ValueError(
            "A worker process died, most often for lack of memory: run the same "
            "command again with a smaller --num_workers; finished parts are kept."
        ) from error
    finally:
        # After Ctrl-C or an error nobody waits for the groups that still run.
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


# One worker process's own: set once by `_start_worker`.
_worker: dict = {}


def _start_worker(job: GroupJob, reports) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent decides.
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _worker["job"] = job
    _worker["maker"] = build.GroupRecordMaker(job.settings, job.vocabulary)
    _worker["report"] = lambda *numbers: reports.put(numbers)


def _leave_with_parent() -> None:
    """End this process when its parent is killed, so that no two runs write at once."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(group: int) -> None:
    make_part(_worker["job"], _worker["maker"], group, _worker["report"])
