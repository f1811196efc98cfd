"""The tokenizers of RoBERTa and XLM-R: byte-level BPE and Unigram, by `tokenizers`.

They are read, used and written as their folder has them; nothing is trained or changed.
"""

import dataclasses
import functools
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence

import numpy as np
import tokenizers

from bert_cn.conversion import folders
from data_prep import command_line, storage
from data_prep.text import tokenization

TOKENIZER_FILE = "tokenizer.json"
_BPE_FILES = ("vocab.json", "merges.txt")
_SENTENCEPIECE_FILE = "sentencepiece.bpe.model"
# What may stand in a folder.
FILES = (
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    *_BPE_FILES,
    _SENTENCEPIECE_FILE,
)
_CLS, _PAD, _SEP, _UNK, _MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"


@dataclasses.dataclass(frozen=True, eq=False)
class FastVocabulary:
    """A tokenizer in the place of a WordPiece `vocab.Vocabulary`.

    Attributes:
        path: the folder that it was read from, for messages.
        files: name -> content of the files that travel with the model.
        tokenizer: it, without truncation and padding.
    """

    path: str
    files: Mapping[str, bytes] = dataclasses.field(repr=False)
    tokenizer: tokenizers.Tokenizer = dataclasses.field(repr=False)

    # <s> A </s></s> B </s>, all in one segment.
    separators = 2
    segments = 1

    def __post_init__(self):
        for token in (_CLS, _PAD, _SEP, _UNK, _MASK):
            if self.tokenizer.token_to_id(token) is None:
                raise ValueError(
                    f"The tokenizer of {self.path} has no {token}, which RoBERTa and "
                    "XLM-R need: put the model's own tokenizer files there."
                )

    def __len__(self) -> int:
        """Return one more than the highest id."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    @functools.cached_property
    def tokens(self) -> tuple[str, ...]:
        """The tokens in the order of their ids; "" for an id without one."""
        tokens = [""] * len(self)
        for token, index in self.tokenizer.get_vocab(with_added_tokens=True).items():
            tokens[index] = token
        return tuple(tokens)

    def show(self, token: int) -> str:
        """Return the token of an id, for people."""
        return self.tokenizer.decode([token], skip_special_tokens=False)

    @functools.cached_property
    def sha256(self) -> str:
        """Sha256 of the tokenizer, in hexadecimal."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    @property
    def cls_id(self) -> int:
        """Id of <s>."""
        return self.tokenizer.token_to_id(_CLS)

    @property
    def pad_id(self) -> int:
        """Id of <pad>."""
        return self.tokenizer.token_to_id(_PAD)

    @property
    def sep_id(self) -> int:
        """Id of </s>."""
        return self.tokenizer.token_to_id(_SEP)

    @property
    def unk_id(self) -> int:
        """Id of <unk>."""
        return self.tokenizer.token_to_id(_UNK)

    @property
    def mask_id(self) -> int:
        """Id of <mask>."""
        return self.tokenizer.token_to_id(_MASK)

    @property
    def mask_token(self) -> str:
        """What a text has in the place of a token to be filled in."""
        return _MASK


class FastTokenizer:
    """Tokenizes as `tokenization.Tokenizer` does, for many lines at once.

    Args:
        tokenizer: without truncation and padding.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self._tokenizer = tokenizer

    def tokenize(self, lines: Sequence[str]) -> tokenization.TokenizedLines:
        """Return tokens and their places, without <s> and </s>.

        A place begins after white space, which some tokenizers count as part of a
        token.
        """
        lines = [_without_surrogates(line) for line in lines]
        encoded = self._tokenizer.encode_batch(lines, add_special_tokens=False)
        return _join(encoded, lines)

    def tokenize_words(self, words: Sequence[str]) -> tokenization.TokenizedLines:
        """Tokenize words that stand after a space, as in transformers' run_ner.py."""
        joined = self.tokenize([f" {word}" for word in words])
        return dataclasses.replace(
            joined,
            char_starts=np.maximum(joined.char_starts - 1, 0),
            char_ends=np.maximum(joined.char_ends - 1, 0),
        )


def _join(
    encoded: Sequence[tokenizers.Encoding], lines: Sequence[str]
) -> tokenization.TokenizedLines:
    counts = np.array([len(each) for each in encoded], np.int64)
    line_starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ids, places, words = [], [], []
    for each, line in zip(encoded, lines, strict=True):
        ids.extend(each.ids)
        words.extend(-1 if word is None else word for word in each.word_ids)
        for start, end in each.offsets:
            while start < end and line[start].isspace():
                start += 1
            places.append((start, end))
    starts, ends = np.array(places, np.int32).reshape(-1, 2).T
    begins = np.ones(len(ids), bool)
    begins[1:] = np.diff(np.array(words, np.int64)) != 0
    begins[line_starts[:-1][counts > 0]] = True
    return tokenization.TokenizedLines(
        np.array(ids, np.int32), line_starts, starts, ends, begins
    )


def _without_surrogates(text: str) -> str:
    """Replace halves of characters, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read(folder: str, source: str = "") -> FastVocabulary:
    """Read the tokenizer of a transformers folder.

    Without a tokenizer.json it is made of vocab.json and merges.txt, or of
    sentencepiece.bpe.model, by transformers.

    Args:
        folder: of the files.
        source: what messages call it; "" for its path.

    Raises:
        ValueError: there is no tokenizer, or it is damaged.
    """
    found = [name for name in FILES if folders.exists(folder, name)]
    files = {name: storage.read_bytes(folders.join(folder, name)) for name in found}
    if TOKENIZER_FILE not in files:
        files[TOKENIZER_FILE] = _convert(folder, found).encode()
    try:
        tokenizer = tokenizers.Tokenizer.from_str(files[TOKENIZER_FILE].decode("utf-8"))
    except Exception as error:  # tokenizers raises plain Exceptions.
        raise ValueError(
            f"{folders.join(folder, TOKENIZER_FILE)} is no tokenizer "
            f"({command_line.first_line(error)}): copy it again."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return FastVocabulary(source or folder, files, tokenizer)


def _convert(folder: str, found: Sequence[str]) -> str:
    """Return the tokenizer.json that transformers makes of older files."""
    if _SENTENCEPIECE_FILE not in found and not set(_BPE_FILES) <= set(found):
        raise ValueError(
            f"{folder} has no tokenizer: put its {TOKENIZER_FILE} there, or "
            f"{' and '.join(_BPE_FILES)} (RoBERTa), or {_SENTENCEPIECE_FILE} (XLM-R)."
        )
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(
            f"{folder} has no {TOKENIZER_FILE}, and transformers, which can make it of "
            f"{', '.join(found)}, is not installed: pip install 'bert_cn[torch]'."
        )
    import transformers

    kind = transformers.RobertaTokenizerFast
    if _SENTENCEPIECE_FILE in found:
        kind = transformers.XLMRobertaTokenizerFast
    try:
        with folders.local_copy(folder, found) as local:
            return kind.from_pretrained(local).backend_tokenizer.to_str()
    except Exception as error:  # Of many classes, for a damaged file.
        raise ValueError(
            f"The tokenizer files of {folder} ({', '.join(found)}) cannot be read "
            f"({command_line.first_line(error)}): copy them again."
        ) from error
