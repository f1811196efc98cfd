"""The document in a row of a table or an object of a JSON file."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# A sentence ends after these marks and the quotes and brackets that close after them.
_SENTENCE_END = re.compile("([。！？；!?;…]+[”’」』》）】\"')]*)")


def break_into_sentences(text: str) -> str:
    """Return a text with one sentence a line.

    Line ends within the text stay; blank lines do not.
    """
    lines = _SENTENCE_END.sub(r"\1\n", text.replace("\r\n", "\n")).split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())


def join_fields(
    content: Mapping[str, Any], text_fields: Sequence[str], where: object
) -> str:
    """Return the document of a row, one sentence a line.

    Args:
        content: the row.
        text_fields: of the document, joined by a line break; of several, those without
            a value are left out.
        where: the row's place, for messages: what has it as `str`.

    Raises:
        ValueError: a field is missing or holds no text.
    """
    texts = [_find_text(content, field, where, text_fields) for field in text_fields]
    return break_into_sentences("\n".join(texts))


def _find_text(content, field: str, where: object, text_fields: Sequence[str]) -> str:
    if field not in content:
        raise ValueError(
            f"{where} has no field {field!r}, only {list_names(content)}: name the "
            "field that holds the document with --text_field."
        )
    text = content[field]
    if text is None and len(text_fields) > 1:
        return ""
    if not isinstance(text, str):
        raise ValueError(
            f"{where} has no text but {type(text).__name__} in the field {field!r}: "
            "name another field with --text_field."
        )
    # JSON may hold half of a surrogate pair, such as \\ud83d, which is no character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def list_names(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Return the names of fields for a message, the first of them if there are many."""
    found = sorted(map(str, names))
    shown = ", ".join(name[:40] for name in found[:8])
    return shown + (f" and {len(found) - 8} more" if len(found) > 8 else "")
