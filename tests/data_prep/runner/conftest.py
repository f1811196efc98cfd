"""Jobs over the sample corpus."""

import pytest

from data_prep.records.settings import Settings
from data_prep.runner import outputs
from data_prep.runner.job import Job
from data_prep.text import corpus, vocab
from tests.conftest import REPOSITORY

SAMPLE = REPOSITORY / "data_prep" / "sample_corpus"
SETTINGS = Settings(masking="wwm", dupe_factor=2)


@pytest.fixture(scope="session")
def vocab_file(tmp_path_factory) -> str:
    """The characters of the sample corpus as a vocabulary."""
    letters = set("".join(p.read_text(encoding="utf-8") for p in SAMPLE.glob("*.txt")))
    tokens = [*vocab.REQUIRED_TOKENS, *sorted(letters - set(" \n"))]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_bytes("".join(token + "\n" for token in tokens).encode())
    return str(path)


@pytest.fixture
def make_job(tmp_path, vocab_file):
    def make(settings=SETTINGS, num_shards=3, inputs=f"{SAMPLE}/*.txt", out="out"):
        return Job(
            corpus.find_files(inputs),
            vocab.load_vocabulary(vocab_file),
            settings,
            outputs.plan_outputs(str(tmp_path / out / "train.tfrecord"), num_shards),
        )

    return make
