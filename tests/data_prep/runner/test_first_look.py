import pytest

from data_prep.records.settings import Settings
from data_prep.runner import first_look, outputs
from data_prep.runner.job import Job
from data_prep.text import corpus, vocab


@pytest.fixture
def look(tmp_path, write_vocabulary):
    """Returns a function: texts of files -> the warning."""

    def look(*texts: str, large_bytes: int = 0, **settings) -> str:
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
        job = Job(
            corpus.find_files(f"{tmp_path}/?.txt"),
            vocab.load_vocabulary(write_vocabulary(*'天地人"')),
            Settings(**settings),
            outputs.plan_outputs(str(tmp_path / "a.tfrecord"), 1),
        )
        return first_look.warn_of_unknown(job, large_bytes)

    return look


def test_many_unknown_tokens_are_warned_of_with_the_characters(look):
    warning = look("天地玄\n人黄黄\n")
    assert warning.startswith("in the first 10,000 lines 50.00 % of the tokens are")
    assert "the vocabulary lacks 黄 (2), 玄 (1)" in warning


def test_text_that_the_vocabulary_has_needs_no_warning(look):
    assert look("天地\n人\n") == ""
    assert look("“天”\n" * 3, fix_punctuation=True) == ""
    assert "--fix_punctuation" in look("“天”\n" * 3)


def test_only_the_first_lines_are_read(look):
    assert look("天\n" * 9_999 + "\n地\n", "玄\n" * 9_000) == ""
    assert look("天\n" * 5_000, "玄\n" * 9_000) != ""


def test_small_text_is_not_looked_at(look):
    assert look("玄黄", large_bytes=7) == ""
    assert look("玄黄", large_bytes=6) != ""
