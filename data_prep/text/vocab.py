"""Load and check a vocabulary; list the ids that may replace a masked token."""

import dataclasses
import functools
import hashlib
import os
import unicodedata

import numpy as np

from data_prep import storage

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
REQUIRED_TOKENS = (PAD, UNK, CLS, SEP, MASK)
# The vocabularies of the reference collection add these two after Google's five.
REFERENCE_TOKENS = ("<S>", "<T>")
CONTINUATION_PREFIX = "##"

# (first, last) code points of `_is_chinese_char` in google-research/bert:
# CJK unified ideographs, extensions A to E and the compatibility blocks.
_HAN_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_han(char: str) -> bool:
    """Say whether one character is Chinese as google-research/bert defines it."""
    code = ord(char)
    return any(first <= code <= last for first, last in _HAN_RANGES)


def is_punctuation(char: str) -> bool:
    """Say whether one character is ASCII but no letter or digit, or Unicode P*.

    google-research/bert defines it so.
    """
    if "!" <= char <= "~":
        return not char.isalnum()
    return unicodedata.category(char).startswith("P")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A WordPiece vocabulary: one token a line, the line number is the id.

    Attributes:
        tokens: the tokens in the order of their ids.
        path: the file that it was read from, for messages.
        data: the file's bytes.
    """

    tokens: tuple[str, ...]
    path: str
    data: bytes = dataclasses.field(repr=False)

    # [CLS] A [SEP] B [SEP]: [SEP] between the texts of a pair, and segments.
    separators = 1
    segments = 2
    mask_token = MASK

    def __len__(self) -> int:
        return len(self.tokens)

    @functools.cached_property
    def sha256(self) -> str:
        """Sha256 of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """Token -> id."""
        return {token: index for index, token in enumerate(self.tokens)}

    def show(self, token: int) -> str:
        """Return the token of an id, for people."""
        return self.tokens[token]

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""
        return self.ids[PAD]

    @property
    def unk_id(self) -> int:
        """Id of [UNK]."""
        return self.ids[UNK]

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""
        return self.ids[CLS]

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""
        return self.ids[SEP]

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""
        return self.ids[MASK]

    @functools.cached_property
    def replacement_ids(self) -> np.ndarray:
        """Ids that may replace a masked token, int32 [number of live ids].

        Special tokens, `[unusedN]` and white space are left out. So are tokens that
        hold punctuation together with anything else, `##` included, and a Han character
        after `##`: no tokenizer produces them, because each such character is a word.
        Words with several characters, Han among them, are produced: `added_words`.
        """
        return np.array(
            [index for index, token in enumerate(self.tokens) if _is_live(token)],
            dtype=np.int32,
        )


def _is_live(token: str) -> bool:
    if token in REFERENCE_TOKENS or (token.startswith("[") and token.endswith("]")):
        # "[" and "]" alone are ordinary punctuation.
        return token in ("[", "]")
    is_part = token.startswith(CONTINUATION_PREFIX) and len(token) > 2
    text = token.removeprefix(CONTINUATION_PREFIX) if is_part else token
    if any(map(str.isspace, text)):
        return False
    if not is_part and (len(text) == 1 or any(map(is_han, text))):
        return True
    return not any(is_han(char) or is_punctuation(char) for char in text)


def load_vocabulary(path: str) -> Vocabulary:
    """Read a vocab.txt.

    Args:
        path: a local path or any path `tf.io.gfile` opens; a folder, such as a
            checkpoint's, stands for the vocab.txt in it.

    Returns:
        The checked `Vocabulary`.

    Raises:
        ValueError: the file is missing, is not UTF-8, lacks one of [PAD] [UNK] [CLS]
            [SEP] [MASK], or holds a token twice.
    """
    if not path:
        raise ValueError("--vocab_file is empty: name a vocab.txt, one token a line.")
    if storage.isdir(path):
        path = os.path.join(path, "vocab.txt")
    try:
        data = storage.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(
            f"Vocabulary {path!r} cannot be read: check --vocab_file."
        ) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Vocabulary {path!r} is not UTF-8 at byte {error.start}: convert it to "
            "UTF-8, one token a line."
        ) from error
    if text.startswith("\ufeff"):
        raise ValueError(
            f"Vocabulary {path!r} begins with a byte order mark, which would become "
            "part of its first token: save it as UTF-8 without BOM."
        )
    # Not splitlines(): Google's Chinese vocabulary has U+2028 as a token.
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    tokens = tuple(line.removesuffix("\r") for line in lines)
    _check_tokens(tokens, path)
    return Vocabulary(tokens, path, data)


def _check_tokens(tokens: tuple[str, ...], path: str) -> None:
    missing = [token for token in REQUIRED_TOKENS if token not in tokens]
    if missing:
        raise ValueError(
            f"Vocabulary {path!r} ({len(tokens)} tokens) lacks {' '.join(missing)}: "
            "add the missing token on a line of its own, or name another --vocab_file."
        )
    line_of: dict[str, int] = {}
    for number, token in enumerate(tokens, 1):
        if token in line_of:
            raise ValueError(
                f"Vocabulary {path!r} holds {token!r} on lines {line_of[token]} and "
                f"{number}: each token needs one id, so remove one of the two lines."
            )
        line_of[token] = number
