import pathlib

import pytest

from data_prep.text import corpus, vocab, vocabulary_training

SAMPLE = pathlib.Path(__file__).parents[2] / "data_prep" / "sample_corpus"
COMMAND = "data_prep.build_vocab"


def test_vocabulary_is_the_same_every_time(run_command, tmp_path):
    for name in ("a", "b"):
        done = run_command(
            COMMAND,
            f"--input_file={SAMPLE}/*.txt",
            f"--output_file={tmp_path}/{name}/vocab.txt",
            "--vocab_size=2000",
        )
        assert done.returncode == 0, done.stderr
        assert "2000 tokens" in done.stdout
    data = (tmp_path / "a" / "vocab.txt").read_bytes()
    assert data == (tmp_path / "b" / "vocab.txt").read_bytes()
    vocabulary = vocab.load_vocabulary(str(tmp_path / "a" / "vocab.txt"))
    assert vocabulary.tokens[:7] == (
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *("<S>", "<T>"),
    )
    assert len(vocabulary) == 2000


@pytest.fixture
def train(tmp_path):
    def run(text, **options):
        path = tmp_path / "text.txt"
        path.write_text(text, encoding="utf-8")
        files = corpus.find_files(str(path))
        options = {"vocab_size": 40, "min_frequency": 0, **options}
        return vocabulary_training.train_vocabulary(
            files, do_lower_case=options.pop("do_lower_case", False), **options
        )

    return run


def test_pieces_are_learned_after_characters(train):
    tokens = train("aba aba 好\n")
    assert tokens[7:] == ["a", "b", "好", "##a", "##b", "##ba", "aba"]


def test_case_is_kept_unless_asked(train):
    assert "A" in train("Aa É\n")
    lower = train("Aa É\n", do_lower_case=True)
    assert "A" not in lower
    assert "e" in lower


def test_frequent_characters_come_first_if_room_is_short(train):
    tokens = train("好好好天天气\n", vocab_size=9)
    assert tokens[7:] == ["天", "好"]


def test_vocabulary_without_room_for_text_is_refused(train):
    with pytest.raises(ValueError, match="--vocab_size=7 leaves no room"):
        train("a\n", vocab_size=7)


def test_existing_vocabulary_is_kept(assert_refused, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("precious")
    assert_refused(
        COMMAND,
        f"--input_file={SAMPLE}/news.txt",
        f"--output_file={path}",
        saying=("exists: name another, or pass --overwrite",),
    )
    assert path.read_text() == "precious"


def test_bad_input_is_refused(assert_refused, tmp_path):
    assert_refused(
        COMMAND,
        f"--input_file={tmp_path}/*.txt",
        f"--output_file={tmp_path}/vocab.txt",
        saying=("matches no file",),
    )
