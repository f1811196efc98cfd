import json
import os
import pathlib

import pytest
from PIL import Image

from data_prep.records import report as report_lib
from data_prep.records.settings import Settings
from data_prep.runner import local, outputs, resume
from data_prep.runner.job import Job
from data_prep.text import corpus, vocab

TEXTS = ("天气 很好。\n我们出去“玩”。", "模型很大。\n词很多。", "天很大。\n我们很好。")


@pytest.fixture
def make_job(tmp_path, write_vocabulary):
    def make(texts=TEXTS, out="out", num_shards=2, **changes):
        path = tmp_path / "text.txt"
        path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
        vocab_file = write_vocabulary(*"天气很好。我们出去模型大词多")
        return Job(
            corpus.find_files(str(path)),
            vocab.load_vocabulary(vocab_file),
            Settings(**{"dupe_factor": 2, **changes}),
            outputs.plan_outputs(str(tmp_path / out / "train.tfrecord"), num_shards),
        )

    return make


def read_files(job) -> dict[str, bytes]:
    paths = (job.outputs.report, job.outputs.report_page, job.outputs.report_image)
    return {os.path.basename(path): pathlib.Path(path).read_bytes() for path in paths}


def read_report(job):
    return json.loads(pathlib.Path(job.outputs.report).read_text(encoding="utf-8"))


def test_report_states_what_the_text_holds(make_job):
    job = make_job()
    local.run(job, 1, False)
    report = read_report(job)
    assert report["unknown_characters"] == [
        {"character": "“", "code_point": "U+201C", "times": 1},
        {"character": "”", "code_point": "U+201D", "times": 1},
        {"character": "玩", "code_point": "U+73A9", "times": 1},
    ]
    counts = report["counts"]
    assert counts["unknown_tokens"] == 3
    assert counts["tokens"] == 5 + 8 + 5 + 4 + 4 + 5
    assert report["shares"]["unknown_tokens"] == round(3 / 31, 6)
    assert counts["random_next_same_text"] == 0
    histogram = report["statistics"]["length_histogram"]
    assert sum(histogram) == counts["sequences"]
    tokens = sum(length * times for length, times in enumerate(histogram))
    assert tokens == counts["sequence_tokens"]
    assert report["shares"]["padding"] == round(
        1 - tokens / (128 * counts["sequences"]), 6
    )
    assert report["warnings"][0].startswith("9.68 % of the tokens are [UNK]: the voc")
    assert report["warnings"][0].endswith(
        "lacks “ (1), ” (1), 玩 (1): take another one, or train one on this text by "
        "build_vocab."
    )


@pytest.mark.parametrize(
    ("settings", "tokens", "expected"),
    [
        ({"do_lower_case": False}, "", "has no upper-case letter, so use --do_lower"),
        ({}, '"', "lacks “ (1,200), 玩 (3), and --fix_punctuation replaces such quo"),
        ({"fix_punctuation": True}, '"', "lacks “ (1,200), 玩 (3): take another one"),
    ],
)
def test_warning_of_unknown_tokens_names_the_remedy(settings, tokens, expected):
    tokens = (*vocab.REQUIRED_TOKENS, *tokens)
    vocabulary = vocab.Vocabulary(tokens, "test", b"")
    counts = {"unknown_tokens": 9, "tokens": 10, "random_next": 1, "parts": 2}
    (warning,) = report_lib.list_warnings(
        Settings(**settings), vocabulary, counts, [("“", 1200), ("玩", 3)]
    )
    assert expected in warning


def test_page_and_plots_can_be_read(make_job):
    job = make_job()
    local.run(job, 1, False)
    page = pathlib.Path(job.outputs.report_page).read_text(encoding="utf-8")
    assert page.startswith("# Data report: train\n")
    assert "| [UNK] | 3 (9.68 %) |" in page
    assert "| “ | U+201C | 1 |" in page
    assert "(train.report.png)" in page
    with Image.open(job.outputs.report_image) as image:
        assert image.format == "PNG"
        assert image.size[0] > 1000


@pytest.mark.parametrize("segmenter", ["rjieba", "none"])
def test_text_without_unknown_characters_has_its_report_and_plots(make_job, segmenter):
    job = make_job(
        ("天气很好。\n我们出去。", "模型很大。\n词很多。"), segmenter=segmenter
    )
    local.run(job, 1, False)
    assert read_report(job)["unknown_characters"] == []
    with Image.open(job.outputs.report_image) as image:
        assert image.format == "PNG"


def test_duplicates_are_counted_and_dropped_on_request(make_job):
    texts = (*TEXTS, TEXTS[0], TEXTS[0])
    kept = make_job(texts, out="kept")
    counts = local.run(kept, 1, False).counts
    assert counts["documents"] == 5
    assert (counts["duplicate_documents"], counts["duplicates_dropped"]) == (2, 0)
    dropped = make_job(texts, out="dropped", deduplicate="exact")
    counts = local.run(dropped, 1, False).counts
    assert (counts["duplicate_documents"], counts["duplicates_dropped"]) == (2, 2)
    assert counts["documents"] == 3
    assert "| Duplicates dropped (`--deduplicate`) | 2 |" in pathlib.Path(
        dropped.outputs.report_page
    ).read_text(encoding="utf-8")


def test_report_does_not_depend_on_workers_or_interruptions(make_job):
    one, two, again = make_job(out="a"), make_job(out="b"), make_job(out="c")
    local.run(one, 1, False)
    local.run(two, 2, False)
    assert read_files(one) == read_files(two)
    local.run(again, 1, False)
    os.remove(again.outputs.shards[0])
    local.run(again, 1, False)
    assert read_files(one) == read_files(again)


def test_lost_report_comes_back_with_a_missing_shard(make_job):
    job = make_job()
    local.run(job, 1, False)
    before = read_files(job)
    for path in (job.outputs.report, job.outputs.shards[1]):
        os.remove(path)
    local.run(job, 1, False)
    assert read_files(job) == before


def test_overwrite_removes_the_report(make_job):
    job = make_job()
    local.run(job, 1, False)
    resume.remove_output(job, job.plan_path)
    assert os.listdir(os.path.dirname(job.outputs.report)) == []


def test_unreadable_report_gives_no_statistics(tmp_path):
    path = tmp_path / "train.report.json"
    assert report_lib.read_statistics(str(path)) == {}
    path.write_text("{")
    assert report_lib.read_statistics(str(path)) == {}


def test_page_of_dynamic_masking_says_that_nothing_is_masked_yet(make_job):
    job = make_job(masking="wwm", masking_time="dynamic", dupe_factor=1)
    local.run(job, 1, False)
    page = pathlib.Path(job.outputs.report_page).read_text(encoding="utf-8")
    assert "| Masked tokens | masked while training |" in page
    assert "masked whole" not in page


def test_too_few_random_pairs_are_warned_of(make_job):
    def find_warnings(job):
        manifest = local.run(job, 1, False)
        warnings = report_lib.list_warnings(
            job.settings, job.vocabulary, manifest.counts
        )
        return [warning for warning in warnings if "pairs" in warning]

    lines = "\n".join(["天气很好。", "我们出去。", "模型很大。"] * 40)
    (alone,) = find_warnings(make_job([lines], out="one", num_shards=1))
    assert alone.startswith("Only 0.00 % of the pairs have a random next")
    several = make_job([lines, lines + "天", lines + "词"], out="some", num_shards=1)
    assert find_warnings(several) == []
    without = make_job([lines], out="no", num_shards=1, sentence_task="none")
    assert find_warnings(without) == []
