import pathlib
import resource
import subprocess
import sys

from data_prep.records.settings import Settings
from data_prep.runner import local, outputs
from data_prep.runner.job import Job
from data_prep.text import corpus, vocab
from tests.conftest import REPOSITORY

SAMPLE = REPOSITORY / "data_prep" / "sample_corpus"


def test_finished_shards_stay_good_where_the_next_cannot_be_written(
    tmp_path, write_vocabulary
):
    texts = [path.read_text(encoding="utf-8") for path in SAMPLE.glob("*.txt")]
    vocab_file = write_vocabulary(*sorted(set("".join(texts).lower()) - set(" \n")))

    def make_job(name: str) -> Job:
        return Job(
            corpus.find_files(f"{SAMPLE}/*.txt"),
            vocab.load_vocabulary(vocab_file),
            Settings(dupe_factor=4),
            outputs.plan_outputs(str(tmp_path / name / "a.tfrecord"), 4),
        )

    whole = make_job("whole")
    local.run(whole, 1, False)
    contents = [pathlib.Path(path).read_bytes() for path in whole.outputs.shards]
    # No file may be as large as the largest shard, so it stops as a full disk does.
    sizes = list(map(len, contents))
    largest = sizes.index(max(sizes))
    assert largest > 0
    limit = sizes[largest] - 1

    job = make_job("full")
    command = [sys.executable, "-m", "data_prep.create_pretraining_data"]
    command += [f"--input_file={SAMPLE}/*.txt", f"--vocab_file={vocab_file}"]
    command += [f"--output_file={tmp_path}/full/a.tfrecord", "--num_shards=4"]
    command += ["--dupe_factor=4", "--num_workers=1"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("create_pretraining_data: error: ")
    assert done.stderr.count("\n") == 1
    assert f"bucket-{largest:06d}.tfrecord" in done.stderr
    assert "File too large" in done.stderr
    assert not pathlib.Path(job.outputs.manifest).exists()
    for path, content in zip(job.outputs.shards[:largest], contents, strict=False):
        assert pathlib.Path(path).read_bytes() == content
    local.run(job, 1, False)
    found = [pathlib.Path(path).read_bytes() for path in job.outputs.shards]
    assert found == contents
