"""Documents of numbered tokens, for tests of packing."""

import numpy as np

from data_prep.text import documents as documents_lib


def make_documents(lengths: list[list[int]], contents=None, word=1):
    """Documents of sentences with these numbers of tokens; words of `word` tokens."""
    sizes = [size for document in lengths for size in document]
    total = sum(sizes)
    starts = np.arange(total + 1) % word == 0
    starts[np.concatenate([[0], np.cumsum(sizes)])] = True
    return documents_lib.TokenizedDocuments(
        np.arange(total, dtype=np.int32),
        starts,
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([[0], np.cumsum([len(document) for document in lengths])]),
        np.arange(len(lengths)) if contents is None else np.array(contents),
        {},
    )


def make_news(count: int = 600) -> documents_lib.TokenizedDocuments:
    """Return documents of 1 to 11 sentences of 5 to 59 tokens, words of three."""
    rng = np.random.default_rng(1)
    lengths = [rng.integers(5, 60, rng.integers(1, 12)).tolist() for _ in range(count)]
    return make_documents(lengths, word=3)
