import dataclasses
import os
import pathlib

import pytest

from data_prep.records import manifest as manifest_lib
from data_prep.runner import held_out, outputs
from data_prep.runner import local as local_lib
from data_prep.text import corpus
from tests.data_prep.runner.conftest import SETTINGS

pytest.importorskip(
    "apache_beam",
    reason="needs apache-beam, which has an environment of its own: see docs/data.md",
)

from data_prep.runner import beam as beam_lib

COMMAND = "data_prep.create_pretraining_data"
TWO_PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


def read_folder(job) -> dict[str, bytes]:
    folder = pathlib.Path(job.outputs.manifest).parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_worker_processes_write_what_the_local_run_writes(make_job):
    local, beam = make_job(out="local"), make_job(out="beam")
    local_lib.run(local, 1, False)
    beam_lib.run(beam, "DirectRunner", list(TWO_PROCESSES), False)
    # Shards, manifest, vocabulary and report, byte for byte; nothing else is left.
    assert read_folder(beam) == read_folder(local)


def test_shards_of_several_buckets_and_of_none_are_the_same(make_job, monkeypatch):
    monkeypatch.setattr("data_prep.runner.buckets.BUCKET_BYTES", 300)
    local, beam = make_job(out="local"), make_job(out="beam")
    assert local.buckets_per_shard > 100
    local_lib.run(local, 1, False)
    beam_lib.run(beam, "DirectRunner", [], False)
    assert read_folder(beam) == read_folder(local)


def test_documents_are_compared_as_locally(make_job, monkeypatch, tmp_path):
    monkeypatch.setattr("data_prep.runner.buckets.BUCKET_BYTES", 20_000)
    texts = [
        text
        for file in make_job().files
        for text, _ in corpus.read_documents(file.path)
    ]
    path = tmp_path / "all.txt"
    alike = (f"第{n}次\n{text}\n版权所有" for n in range(3) for text in texts)
    path.write_text("\n\n".join(alike), encoding="utf-8")
    settings = dataclasses.replace(
        SETTINGS,
        deduplicate="near",
        drop_repeated_lines=100,
        eval_fraction=0.2,
    )
    folders = []
    for name in ("local", "beam"):
        job = make_job(settings, inputs=str(path), out=name)
        for part in held_out.split_job(job):
            if name == "local":
                local_lib.run(part, 1, False)
            else:
                beam_lib.run(part, "DirectRunner", [], False)
        folders.append(read_folder(job))
    assert folders[0] == folders[1]
    manifest = manifest_lib.read_manifest(job.outputs.manifest)
    assert manifest.counts["near_duplicates_dropped"] > 100
    assert manifest.counts["repeated_lines_dropped"] > 100
    assert job.num_buckets > 10


def test_complete_output_is_left_alone_and_another_is_refused(make_job):
    job = make_job()
    beam_lib.run(job, "DirectRunner", [], False)
    before = os.stat(job.outputs.shards[0]).st_mtime_ns
    beam_lib.run(job, "DirectRunner", [], False)
    assert os.stat(job.outputs.shards[0]).st_mtime_ns == before
    other = make_job(dataclasses.replace(SETTINGS, random_seed=1))
    with pytest.raises(ValueError, match="begun with random_seed=12345, now it is 1"):
        beam_lib.run(other, "DirectRunner", [], False)
    beam_lib.run(other, "DirectRunner", [], True)
    assert os.stat(job.outputs.shards[0]).st_mtime_ns > before


def fail_after_a_shard(job, monkeypatch):
    """Leave the files of a pipeline that failed after its first shard."""

    def fail(self, stages, *rest):
        pathlib.Path(job.outputs.shards[0]).write_bytes(b"of the failed run")
        raise ValueError("The Beam pipeline failed")

    with monkeypatch.context() as patch:
        patch.setattr(beam_lib._Engine, "run", fail)
        with pytest.raises(ValueError, match="The Beam pipeline failed"):
            beam_lib.run(job, "DirectRunner", [], False)


def test_failed_pipeline_starts_again(make_job, monkeypatch):
    job = make_job()
    fail_after_a_shard(job, monkeypatch)
    with pytest.raises(ValueError, match="begun with random_seed=12345, now it is 1"):
        beam_lib.run(
            make_job(dataclasses.replace(SETTINGS, random_seed=1)),
            "DirectRunner",
            [],
            False,
        )
    beam_lib.run(job, "DirectRunner", [], False)
    local = make_job(out="local")
    local_lib.run(local, 1, False)
    assert read_folder(job) == read_folder(local)


def test_shards_of_a_failed_pipeline_are_removed_with_it(make_job, monkeypatch):
    job = make_job()
    fail_after_a_shard(job, monkeypatch)
    fewer = dataclasses.replace(
        job, outputs=outputs.plan_outputs(f"{job.outputs.manifest[:-14]}.tfrecord", 2)
    )
    beam_lib.run(fewer, "DirectRunner", [], True)
    names = [name for name in read_folder(job) if name.endswith(".tfrecord")]
    assert sorted(name[-14:] for name in names) == ["f-00002.tfrecord"[-14:]] * 2


def test_foreign_folder_in_the_place_of_work_is_kept(make_job):
    job = make_job()
    folder = pathlib.Path(job.outputs.manifest).parent / "train.beam"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("precious")
    shard = pathlib.Path(job.outputs.shards[0])
    shard.write_bytes(b"precious too")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="needed for work but holds 'thesis.tex'"):
            beam_lib.run(job, "DirectRunner", [], overwrite)
    assert (folder / "thesis.tex").read_text() == "precious"
    assert shard.exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--nonsense=2", "Option --nonsense is unknown to Beam's DirectRunner"),
        ("nonsense", "'nonsense' belongs to no option"),
        ("--direct_num_workers=two", "Beam refused its options --direct_num_workers"),
    ],
)
def test_bad_options_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        beam_lib.build_options("DirectRunner", [argument])


def test_bad_text_is_refused_by_the_command(assert_refused, tmp_path, vocab_file):
    path = tmp_path / "gbk.txt"
    path.write_bytes(b"abc\n" + "天气".encode("gbk"))
    assert_refused(
        COMMAND,
        f"--input_file={path}",
        f"--output_file={tmp_path}/out/train.tfrecord",
        f"--vocab_file={vocab_file}",
        "--runner=DirectRunner",
        "--",
        *TWO_PROCESSES,
        saying=("gbk.txt' is not UTF-8 at byte 4",),
    )
