import hashlib
import shutil

import pytest

from data_prep.text import vocab


def test_tokens_are_lines_and_ids_line_numbers(write_vocabulary):
    # U+2028 is a token of Google's Chinese vocabulary, not the end of a line.
    path = write_vocabulary("模", "\u2028", "##b")
    loaded = vocab.load_vocabulary(path)
    assert loaded.tokens[5:] == ("模", "\u2028", "##b")
    assert loaded.ids["##b"] == 7
    assert (loaded.pad_id, loaded.unk_id, loaded.mask_id) == (0, 1, 4)
    with open(path, "rb") as file:
        assert loaded.sha256 == hashlib.sha256(file.read()).hexdigest()


def test_only_live_tokens_stand_in_for_a_masked_one(make_vocabulary):
    vocabulary = make_vocabulary(
        *("[unused1]", "<S>", "<T>", "[", "]", "模", "##模", "##b", "#", "b"),
        # Punctuation is a word of its own, white space none.
        *("##", "##。", "##[", "...", "\u2028"),
    )
    live = [vocabulary.tokens[i] for i in vocabulary.replacement_ids]
    assert live == ["[", "]", "模", "##b", "#", "b"]


def test_vocabulary_without_mask_is_refused(write_vocabulary):
    path = write_vocabulary("a", special=("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    with pytest.raises(ValueError, match=r"\(5 tokens\) lacks \[MASK\]: add"):
        vocab.load_vocabulary(path)


def test_token_twice_is_refused_with_both_lines(write_vocabulary):
    with pytest.raises(ValueError, match="holds 'a' on lines 6 and 8"):
        vocab.load_vocabulary(write_vocabulary("a", "b", "a"))


def test_byte_order_mark_is_refused(write_vocabulary):
    path = write_vocabulary()
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(b"\xef\xbb\xbf" + data)
    with pytest.raises(ValueError, match="begins with a byte order mark"):
        vocab.load_vocabulary(path)


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"[PAD]\n\xff\n")
    with pytest.raises(ValueError, match="is not UTF-8 at byte 6"):
        vocab.load_vocabulary(str(path))


def test_folder_stands_for_the_vocabulary_in_it(write_vocabulary, tmp_path):
    path = write_vocabulary("模")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    with pytest.raises(ValueError, match="checkpoint/vocab.txt' cannot be read"):
        vocab.load_vocabulary(str(folder))
    shutil.copy(path, folder / "vocab.txt")
    loaded = vocab.load_vocabulary(str(folder))
    assert loaded.tokens[5:] == ("模",)
    assert loaded.path == f"{folder}/vocab.txt"


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: check --vocab_file"):
        vocab.load_vocabulary(str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="--vocab_file is empty"):
        vocab.load_vocabulary("")
