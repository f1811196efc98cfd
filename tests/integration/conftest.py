"""Records that the data stage writes, to train on."""

import pytest

from data_prep.records.settings import Settings
from data_prep.runner import held_out, local, outputs
from data_prep.runner.job import Job
from data_prep.text import corpus, vocab
from tests.conftest import REPOSITORY

NEWS = REPOSITORY / "data_prep" / "sample_corpus" / "news.txt"


@pytest.fixture(scope="session")
def write_records(tmp_path_factory):
    """Run the data stage over news.txt; return the record files."""
    folder = tmp_path_factory.mktemp("records")
    text = NEWS.read_text(encoding="utf-8")
    tokens = (*vocab.REQUIRED_TOKENS, *sorted(set(text.lower()) - set(" \n")))
    vocabulary = vocab.Vocabulary(
        tokens, "test", "".join(token + "\n" for token in tokens).encode()
    )

    def write(name: str, settings: Settings) -> tuple[str, ...]:
        job = Job(
            corpus.find_files(str(NEWS)),
            vocabulary,
            settings,
            outputs.plan_outputs(str(folder / name / "train.tfrecord"), 2),
        )
        for part in held_out.split_job(job) or (job,):
            local.run(part, 1, False)
        return job.outputs.shards

    return write
