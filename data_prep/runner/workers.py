"""Do the tasks of a job here or in several processes; the results are the same."""

import concurrent.futures
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data_prep import storage
from data_prep.records import build, tfrecords
from data_prep.runner import bucket_documents, near_duplicates, spill
from data_prep.runner.job import Job
from data_prep.text import counts as counts_lib

_POLL_SECONDS = 0.2
# With less text than this, copies counted, starting more processes takes longer than it
# saves.
_ONE_PROCESS_BYTES = 16e6

# Takes the bytes of text and the number of sequences since its last call.
Report = Callable[[float, int], None]
# Takes a job, a maker of records, what to do (a bucket's number, ...) and a report.
Task = Callable[[Job, build.BucketRecordMaker, Any, Report], Any]


def choose_num_workers(job: Job) -> int:
    """Return a job's number of processes: one per core, or one for little text."""
    if job.corpus_bytes * job.settings.dupe_factor < _ONE_PROCESS_BYTES:
        return 1
    return os.cpu_count() or 1


def make_part(
    job: Job, maker: build.BucketRecordMaker, bucket: int, report: Report
) -> None:
    """Write one bucket's records, then its counts; a task of `run_tasks`."""
    texts, copies, counts = bucket_documents.load(job, bucket)
    text_bytes = spill.bucket_bytes(job, bucket)
    dropped = set()
    if job.settings.deduplicate == "near":
        dropped, more = near_duplicates.find_dropped(job, bucket, texts)
        counts |= more
    documents = bucket_documents.leave_out(texts, copies, dropped)

    def batches() -> Iterator[list[bytes]]:
        reported = 0.0
        for block in maker.make(documents, bucket):
            counts_lib.add(counts, block.counts)
            report((block.done - reported) * text_bytes, len(block.records))
            reported = block.done
            yield block.records

    # Named by the process, because a killed run's worker may live a moment longer.
    partial = f"{job.part_path(bucket)}.{os.getpid()}.partial"
    tfrecords.write_records(partial, batches())
    os.replace(partial, job.part_path(bucket))
    storage.write_whole(job.counts_path(bucket), json.dumps(counts))


def run_tasks(
    job: Job, items: Sequence[Any], num_workers: int, report: Report, task: Task
) -> Iterator[tuple[Any, Any]]:
    """Do a task for each item; yield the item and its result when it is finished.

    Args:
        job: to work on.
        items: such as the numbers of buckets; hashable.
        num_workers: processes.
        report: see `Report`.
        task: what to do, see `Task`; a function of a module.

    Raises:
        ValueError: a worker process died.
    """
    if min(num_workers, len(items)) < 2:
        _start_worker(job, report)
        for item in items:
            yield item, _work(item, task)
        return
    # Spawned, not forked: TensorFlow does not survive a fork.
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    executor = concurrent.futures.ProcessPoolExecutor(
        min(num_workers, len(items)), context, _start_process, (job, reports)
    )
    try:
        running = {executor.submit(_work, item, task): item for item in items}
        while running:
            done, _ = concurrent.futures.wait(
                running, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED
            )
            while not reports.empty():
                report(*reports.get())
            for future in done:
                yield running.pop(future), future.result()
        executor.shutdown()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise ValueError(
            "A worker process died, most often for lack of memory: run the same "
            "command again with a smaller --num_workers; finished parts are kept."
        ) from error
    finally:
        # After Ctrl-C or an error nobody waits for the buckets that still run.
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


# What works on buckets in this process: set by `_start_worker`.
_worker: dict = {}


def _start_process(job: Job, reports) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent decides.
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _start_worker(job, lambda *numbers: reports.put(numbers))


def _start_worker(job: Job, report: Report) -> None:
    _worker.clear()
    _worker.update(job=job, report=report)


def _leave_with_parent() -> None:
    """End this process when its parent is killed, so that no two runs write at once."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(item: Any, task: Task) -> Any:
    job = _worker["job"]
    # Building it takes time, and only this task wants it.
    if task is make_part and "maker" not in _worker:
        _worker["maker"] = build.BucketRecordMaker(job.settings, job.vocabulary)
    return task(job, _worker.get("maker"), item, _worker["report"])
