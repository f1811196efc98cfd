"""Small vocabularies and texts for the data stage's tests."""

import pytest

from data_prep.text import vocab

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@pytest.fixture
def make_vocabulary():
    """Build a vocabulary of the five special tokens and some more, in order."""

    def make(*tokens: str) -> vocab.Vocabulary:
        all_tokens = (*SPECIAL, *tokens)
        data = "".join(token + "\n" for token in all_tokens).encode()
        return vocab.Vocabulary(all_tokens, "test vocabulary", data)

    return make


@pytest.fixture
def write_vocabulary(tmp_path):
    """Write a vocab.txt of the special tokens and some more; return its path."""

    def write(*tokens: str, special: tuple[str, ...] = SPECIAL) -> str:
        path = tmp_path / "vocab.txt"
        path.write_bytes("".join(t + "\n" for t in (*special, *tokens)).encode())
        return str(path)

    return write
