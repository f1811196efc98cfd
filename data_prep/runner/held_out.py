"""Text that is held out from training, to evaluate on: a job of its own.

A document's own hash decides, whatever the seed, so that the same documents are held
out from every set of records made of a text, and copies are on one side.
"""

import dataclasses
import hashlib
import heapq
from collections.abc import Iterable

from data_prep.records import manifest as manifest_lib
from data_prep.runner import outputs as outputs_lib
from data_prep.runner.job import EVAL_BITS, Job
from data_prep.text import corpus


def find_place(text: str) -> int:
    """Return a document's place in [0, 2^64); those with low ones are held out."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=EVAL_BITS // 8).digest()
    return int.from_bytes(digest, "big")


def split_job(job: Job) -> tuple[Job, Job] | None:
    """Return the job of the held-out text and that of the rest; None if all is used."""
    settings = job.settings
    if settings.eval_documents:
        limit = _find_limit(_read_places(job), settings.eval_documents)
    elif settings.eval_fraction:
        limit = round(settings.eval_fraction * 2**EVAL_BITS)
    else:
        return None
    shown = dataclasses.replace(
        settings,
        split="eval",
        dupe_factor=1,
        masking_time="static",
        pack_sequences=1,
    )
    held_out = dataclasses.replace(
        job,
        settings=shown,
        outputs=outputs_lib.plan_outputs(
            manifest_lib.name_held_out(job.outputs.stem), 1
        ),
        eval_limit=limit,
    )
    return held_out, dataclasses.replace(job, eval_limit=limit)


def takes(job: Job, text: str) -> bool:
    """Say whether a document is one of a job's."""
    if not job.eval_limit:
        return True
    return (find_place(text) < job.eval_limit) == (job.settings.split == "eval")


def _read_places(job: Job) -> Iterable[int]:
    for file in job.files:
        for text, _ in corpus.read_documents(
            file.path, rules=job.settings.reading_rules
        ):
            yield find_place(text)


def _find_limit(places: Iterable[int], count: int) -> int:
    """Return the limit below which `count` different places lie."""
    lowest: list[int] = []  # negative, so that the heap gives up the highest
    known: set[int] = set()
    for place in places:
        if place in known:
            continue
        if len(lowest) < count:
            heapq.heappush(lowest, -place)
        elif place < -lowest[0]:
            known.discard(-heapq.heappushpop(lowest, -place))
        else:
            continue
        known.add(place)
    return -lowest[0] + 1 if lowest else 0
