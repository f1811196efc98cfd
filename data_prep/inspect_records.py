"""Show sequences of a record file, in the terminal or as a page.

    python -m data_prep.inspect_records out/train.tfrecord --num_records=3

Masked tokens are marked, each with its label.
"""

import dataclasses
import os
import shutil
import sys

from absl import flags

from data_prep import command_line, storage
from data_prep.records import build
from data_prep.records import manifest as manifest_lib
from data_prep.text import segmentation, traditional, vocab

flags.DEFINE_integer("num_records", 5, "Number of sequences to show.")
flags.DEFINE_integer(
    "first_record", 1, "Number of the first sequence to show.", lower_bound=1
)
flags.DEFINE_string(
    "vocab_file", None, "The records' vocabulary; by default the one beside them."
)
flags.DEFINE_enum(
    "segmenter",
    None,
    segmentation.SEGMENTERS,
    "Finds the words, which records do not hold; by default the segmenter of the "
    "records, or rjieba.",
)
flags.DEFINE_string("html", None, "Write a page to this file instead.")


@dataclasses.dataclass(frozen=True)
class InspectArgs:
    """The values of the flags."""

    path: str
    """The record file."""

    num_records: int
    """Sequences to show."""

    first_record: int
    """Number of the first one, from 1."""

    vocab_file: str | None
    """The records' vocabulary; None for the one that their manifest names."""

    segmenter: str | None
    """One of `segmentation.SEGMENTERS`; None for that of the manifest."""

    html: str | None
    """File of the page to write; None to print."""


def main(arguments: list[str]) -> None:
    """Find vocabulary and segmenter, show the sequences."""
    args = _read_flags(arguments)
    manifest = None
    if storage.exists(args.path):
        manifest = manifest_lib.find_manifest(args.path)
    vocabulary = vocab.load_vocabulary(_choose_vocabulary(args, manifest))
    segmenter = _build_segmenter(args.segmenter, manifest)
    # They import TensorFlow, which takes seconds: bad arguments do not wait for it.
    from data_prep.records import render, viewer

    sequences = viewer.read_sequences(
        *(args.path, args.num_records, vocabulary, segmenter, args.first_record),
        manifest.settings.sentence_task if manifest else "nsp",
    )
    if args.html:
        title = os.path.basename(args.path)
        page = render.write_html(sequences, title, args.first_record)
        storage.write_whole(args.html, page)
        print(f"Page: {args.html}")
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size().columns
    for line in render.write_all(sequences, args.first_record, width, colour):
        print(line)


def _read_flags(arguments: list[str]) -> InspectArgs:
    if len(arguments) != 2:
        raise ValueError(
            f"Name one record file, found {len(arguments) - 1}: python -m "
            "data_prep.inspect_records out/train.tfrecord"
        )
    fields = [field.name for field in dataclasses.fields(InspectArgs)]
    values = {name: flags.FLAGS[name].value for name in fields if name != "path"}
    args = InspectArgs(path=arguments[1], **values)
    if args.num_records < 1:
        raise ValueError(
            f"--num_records={args.num_records} cannot work: it must be 1 or more."
        )
    return args


def _choose_vocabulary(
    args: InspectArgs, manifest: manifest_lib.Manifest | None
) -> str:
    if args.vocab_file is not None:
        return args.vocab_file
    if not storage.exists(args.path):
        raise ValueError(f"Record file {args.path!r} does not exist: check the path.")
    if manifest is None:
        raise ValueError(
            f"No manifest beside {args.path!r} names its vocabulary: name it with "
            "--vocab_file."
        )
    return manifest.vocab_path


def _build_segmenter(
    chosen: str | None, manifest: manifest_lib.Manifest | None
) -> segmentation.Segmenter:
    """Return the segmenter of the records, if it is known and none was chosen."""
    name = _choose_segmenter(chosen, manifest)
    with_dictionary = segmentation.WITH_DICTIONARY
    if manifest is None or chosen or name not in with_dictionary:
        return segmentation.build_segmenter(name)
    simplifier = traditional.Simplifier(manifest.settings.traditional)
    try:
        user_words = build.read_user_words(manifest.settings, simplifier)
    except ValueError as error:
        print(f"Words are found without --user_dict: {error}", file=sys.stderr)
        user_words = []
    segmenter = segmentation.build_segmenter(name, user_words)
    return lambda text: segmenter(
        simplifier.simplify([text])[0] if simplifier.applies(text) else text
    )


def _choose_segmenter(
    chosen: str | None, manifest: manifest_lib.Manifest | None
) -> str:
    if chosen is not None:
        return chosen
    # Records have lost the white space that --segmenter=whitespace looks for.
    if manifest is None or manifest.settings.segmenter == "whitespace":
        return "rjieba"
    return manifest.settings.segmenter


if __name__ == "__main__":
    command_line.run_command(main)
