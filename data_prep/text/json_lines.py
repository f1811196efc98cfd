"""JSON lines -> documents, each split into sentences."""

import json
import re
from collections.abc import Iterable, Iterator

# A sentence ends behind these marks and the quotes and brackets that close behind them.
_SENTENCE_END = re.compile("([。！？；!?;…]+[”’」』》）】\"')]*)")


def read_documents(path: str, texts: Iterable[str], text_field: str) -> Iterator[str]:
    """Yield the document of each JSON line, one sentence a line.

    Args:
        path: the file, for messages.
        texts: its content in whole lines.
        text_field: name of the field that holds the document.

    Raises:
        ValueError: a line is no JSON object with a text under that name.
    """
    number = 0
    for text in texts:
        for line in text.removesuffix("\n").split("\n"):
            number += 1
            if line.strip():
                yield split_text(_find_text(line, text_field, f"{path!r}", number))


def split_text(text: str) -> str:
    """Return a text with one sentence a line.

    Line ends within the text stay; blank lines do not.
    """
    lines = _SENTENCE_END.sub(r"\1\n", text.replace("\r\n", "\n")).split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())


def _find_text(line: str, text_field: str, path: str, number: int) -> str:
    where = f"--input_file {path} line {number}"
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where} is no JSON ({error}): a .jsonl file holds one object a line."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{where} is no JSON object: write each document as "
            f'{{"{text_field}": "..."}}.'
        )
    if text_field not in content:
        raise ValueError(
            f"{where} has no field {text_field!r}, only {', '.join(sorted(content))}: "
            "name the one that holds the document with --text_field."
        )
    text = content[text_field]
    if not isinstance(text, str):
        raise ValueError(
            f"{where} has a {type(text).__name__} in the field {text_field!r}, not a "
            "text: name another with --text_field."
        )
    # Half of a surrogate pair, written as \ud83d, is no character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
