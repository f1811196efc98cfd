"""Command: show sequences of a record file, in the terminal or as a page."""

import os
import shutil
import sys

from absl import flags

from data_prep import command_line, storage
from data_prep.records import build, render, viewer
from data_prep.records import manifest as manifest_lib
from data_prep.text import segmentation, traditional, vocab

_NUM_RECORDS = flags.DEFINE_integer("num_records", 5, "Show this many sequences.")
_FIRST_RECORD = flags.DEFINE_integer(
    "first_record", 1, "Number of the first sequence to show.", lower_bound=1
)
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file", None, "The records' vocabulary; by default the one beside them."
)
_SEGMENTER = flags.DEFINE_enum(
    "segmenter",
    None,
    segmentation.SEGMENTERS,
    "What finds the words, which records do not hold; by default the segmenter that "
    "the records were made with, or rjieba.",
)
_HTML = flags.DEFINE_string("html", None, "Write a page to this file instead.")


def main(arguments: list[str]) -> None:
    """Read flags, find the vocabulary, show the sequences."""
    path = _read_path(arguments)
    if _NUM_RECORDS.value < 1:
        raise ValueError(
            f"--num_records={_NUM_RECORDS.value} cannot work: it must be 1 or more."
        )
    manifest = manifest_lib.find_manifest(path) if storage.exists(path) else None
    sequences = viewer.read_sequences(
        path,
        _NUM_RECORDS.value,
        vocab.load_vocabulary(_choose_vocabulary(path, manifest)),
        _build_segmenter(manifest),
        _FIRST_RECORD.value,
    )
    if _HTML.value:
        page = render.write_html(sequences, os.path.basename(path), _FIRST_RECORD.value)
        with storage.open(_HTML.value, "w") as file:
            file.write(page)
        print(f"Page: {_HTML.value}")
        return
    _print_sequences(sequences)


def _read_path(arguments: list[str]) -> str:
    if len(arguments) != 2:
        raise ValueError(
            f"Name one record file, found {len(arguments) - 1}: python -m "
            "data_prep.inspect_records out/train.tfrecord"
        )
    return arguments[1]


def _choose_vocabulary(path: str, manifest: manifest_lib.Manifest | None) -> str:
    if _VOCAB_FILE.value is not None:
        return _VOCAB_FILE.value
    if not storage.exists(path):
        raise ValueError(f"Record file {path!r} does not exist: check the path.")
    if manifest is None:
        raise ValueError(
            f"No manifest beside {path!r} names its vocabulary: name it with "
            "--vocab_file."
        )
    return manifest.vocab_path


def _build_segmenter(manifest: manifest_lib.Manifest | None) -> segmentation.Segmenter:
    """Return what finds the words as when the records were made, if that is known."""
    name = _choose_segmenter(manifest)
    with_dictionary = segmentation.WITH_DICTIONARY
    if manifest is None or _SEGMENTER.value or name not in with_dictionary:
        return segmentation.build_segmenter(name)
    shadow = traditional.Simplifier(manifest.traditional)
    try:
        user_words = build.read_user_words(manifest, shadow)
    except ValueError as error:
        print(f"Words are found without --user_dict: {error}", file=sys.stderr)
        user_words = []
    segmenter = segmentation.build_segmenter(name, user_words)
    return lambda text: segmenter(
        shadow.simplify([text])[0] if shadow.applies(text) else text
    )


def _choose_segmenter(manifest: manifest_lib.Manifest | None) -> str:
    if _SEGMENTER.value is not None:
        return _SEGMENTER.value
    # Records have lost the white space that --segmenter=whitespace looks for.
    if manifest is None or manifest.segmenter == "whitespace":
        return "rjieba"
    return manifest.segmenter


def _print_sequences(sequences) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size().columns
    for number, sequence in enumerate(sequences, _FIRST_RECORD.value):
        if number == _FIRST_RECORD.value:
            print(render.describe_marks(colour))
        print()
        for line in render.write_lines(sequence, number, width, colour):
            print(line)


if __name__ == "__main__":
    command_line.run_command(main)
