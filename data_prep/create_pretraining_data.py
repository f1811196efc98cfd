"""Command: raw text -> TFRecords for BERT pretraining with whole-word masking."""

import os
import sys
import time

from absl import flags

from data_prep import command_line
from data_prep.records import job as job_lib
from data_prep.records import manifest as manifest_lib
from data_prep.records import masking, report, schema
from data_prep.records import packing as packing_lib
from data_prep.records import settings as settings_lib
from data_prep.runner import local as local_lib
from data_prep.runner import outputs
from data_prep.text import corpus, segmentation, traditional
from data_prep.text import vocab as vocab_lib

_INPUT_FILE = flags.DEFINE_string(
    "input_file",
    None,
    "Text file, glob or comma list: UTF-8, one sentence a line, a blank line between "
    "documents; or named .jsonl, one JSON object with a document a line. Names ending "
    "in .gz, .bz2, .xz or .zst are decompressed.",
    required=True,
)
_OUTPUT_FILE = flags.DEFINE_string(
    "output_file",
    None,
    "Record file, such as out/train.tfrecord, or a comma list, one shard each.",
    required=True,
)
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file", None, "The vocabulary that BERT is trained on.", required=True
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case", True, "Lower-case the text and strip accents (uncased models)."
)
_DO_WHOLE_WORD_MASK = flags.DEFINE_bool(
    "do_whole_word_mask", None, "google-research/bert's spelling of --masking=wwm."
)
_MASKING = flags.DEFINE_enum(
    "masking",
    None,
    masking.MASKINGS,
    "What is masked together: whole words, single tokens (the default), or runs of one "
    "to four whole words as MacBERT has it.",
)
_MASK_UNIT = flags.DEFINE_enum(
    "mask_unit",
    "token",
    masking.MASK_UNITS,
    "What becomes [MASK], another token or stays by one draw: each token by its own, "
    "as google-research/bert, or all tokens of a word.",
)
_MAX_SEQ_LENGTH = flags.DEFINE_integer("max_seq_length", 128, "Tokens per sequence.")
_MAX_PREDICTIONS_PER_SEQ = flags.DEFINE_integer(
    "max_predictions_per_seq", 20, "Masked tokens per sequence, at most."
)
_RANDOM_SEED = flags.DEFINE_integer("random_seed", 12345, "Decides every draw.")
_DUPE_FACTOR = flags.DEFINE_integer(
    "dupe_factor", 10, "Times the text is used, each time with other masks."
)
_MASKED_LM_PROB = flags.DEFINE_float("masked_lm_prob", 0.15, "Share of tokens masked.")
_SHORT_SEQ_PROB = flags.DEFINE_float(
    "short_seq_prob", 0.1, "Share of documents cut into shorter pairs."
)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", 1, "Record files to write.")
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    None,
    "Processes, by default one a core (one in all where there is little to do); the "
    "result is the same.",
)
_MASKING_TIME = flags.DEFINE_enum(
    "masking_time",
    "static",
    list(schema.FEATURES_OF),
    "Mask while the records are written, or anew in each epoch of run_pretraining "
    "(dynamic; each sequence is then stored once, --dupe_factor is 1).",
)
_PACKING = flags.DEFINE_enum(
    "packing",
    "pairs",
    packing_lib.PACKINGS,
    "What a sequence holds: pairs of stretches of text, as many full_sentences as fit "
    "(RoBERTa), or one of the lines.",
)
_SENTENCE_TASK = flags.DEFINE_enum(
    "sentence_task",
    None,
    packing_lib.SENTENCE_TASKS,
    "What next_sentence_labels say of a pair: nsp, 1 = random next (the default with "
    "pairs); sop, 1 = swapped; none, always 0.",
)
_SEGMENTER = flags.DEFINE_enum(
    "segmenter",
    "rjieba",
    segmentation.SEGMENTERS,
    "What finds the words: rjieba or jieba (Chinese), whitespace (the text is already "
    "segmented), none (WordPiece's own words, as google-research/bert).",
)
_USER_DICT = flags.DEFINE_string(
    "user_dict",
    "",
    "Words that rjieba or jieba shall know as well, in jieba's format: a word a line, "
    "where needed its frequency and tag behind it.",
)
_TRADITIONAL = flags.DEFINE_enum(
    "traditional",
    "auto",
    traditional.CHOICES,
    "Find the words of traditional text in its simplified form (OpenCC) and mask the "
    "original: of every document, of none, or of those with more characters that only "
    "traditional text has than characters that only simplified text has.",
)
_FIX_PUNCTUATION = flags.DEFINE_bool(
    "fix_punctuation",
    False,
    "Put characters of the vocabulary in the place of those of “ ” ‘ ’ — … that it "
    "lacks.",
)
_TEXT_FIELD = flags.DEFINE_string(
    "text_field", "text", "What holds the document in the objects of .jsonl files."
)
_ON_BAD_UTF8 = flags.DEFINE_enum(
    "on_bad_utf8",
    "fail",
    corpus.ON_BAD_UTF8,
    "Stop at bytes that are not UTF-8, or read them as U+FFFD, which makes no token.",
)
_FEATURE_NAMES = flags.DEFINE_enum(
    "feature_names",
    "google",
    list(schema.RECORD_NAMES),
    "Spelling of the features: google-research/bert or TF Model Garden v2.",
)
_DEDUPLICATE = flags.DEFINE_bool(
    "deduplicate", False, "Use documents of exactly equal text once."
)
_RUNNER = flags.DEFINE_enum(
    "runner",
    None,
    ("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner"),
    "Run on Apache Beam (extra beam) instead of local processes; Beam's own options "
    "stand at the end, behind --, such as -- --region=europe-west4. The result is the "
    "same.",
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Remove a finished output, or one that other flags or inputs began; what the same "
    "flags and inputs have begun is gone on with.",
)

# Below this much text, copies counted, starting more processes takes longer than it
# saves.
_ONE_PROCESS_BYTES = 16e6


def main(arguments: list[str]) -> None:
    """Read flags, make the records, say what came out."""
    if _RUNNER.value is None:
        command_line.refuse_arguments(arguments)
    start = time.monotonic()
    settings = _read_settings()
    settings.check()
    planned = outputs.plan_outputs(_OUTPUT_FILE.value, _NUM_SHARDS.value)
    vocabulary = vocab_lib.load_vocabulary(_VOCAB_FILE.value)
    files = corpus.find_files(_INPUT_FILE.value)
    _check_inputs(files, planned)
    job = job_lib.Job(files, vocabulary, settings, planned)
    if _RUNNER.value is None:
        manifest = local_lib.run(job, _choose_workers(job), _OVERWRITE.value)
    else:
        manifest = _run_on_beam(job, arguments[1:])
    _print_summary(manifest, planned, time.monotonic() - start)
    _print_warnings(job, manifest)


def _check_inputs(files: list[corpus.InputFile], planned: outputs.Outputs) -> None:
    written = {os.path.abspath(path) for path in planned.shards}
    written |= {os.path.abspath(path) for path in planned.beside_shards}
    for file in files:
        if os.path.abspath(file.path) in written:
            raise ValueError(
                f"--input_file {file.path!r} would be replaced by what --output_file "
                "names: name another output."
            )
    if _TEXT_FIELD.present:
        corpus.check_text_field(files, _TEXT_FIELD.value)


def _read_settings() -> settings_lib.Settings:
    return settings_lib.Settings(
        max_seq_length=_MAX_SEQ_LENGTH.value,
        max_predictions_per_seq=_MAX_PREDICTIONS_PER_SEQ.value,
        random_seed=_RANDOM_SEED.value,
        dupe_factor=_read_dupe_factor(),
        masked_lm_prob=_MASKED_LM_PROB.value,
        short_seq_prob=_SHORT_SEQ_PROB.value,
        do_lower_case=_DO_LOWER_CASE.value,
        masking=_read_masking(),
        mask_unit=_MASK_UNIT.value,
        masking_time=_MASKING_TIME.value,
        packing=_PACKING.value,
        sentence_task=_SENTENCE_TASK.value
        or ("nsp" if _PACKING.value == "pairs" else "none"),
        segmenter=_SEGMENTER.value,
        user_dict=_USER_DICT.value,
        user_dict_sha256=_hash_user_dict(),
        traditional=_TRADITIONAL.value,
        fix_punctuation=_FIX_PUNCTUATION.value,
        feature_names=_FEATURE_NAMES.value,
        text_field=_TEXT_FIELD.value,
        on_bad_utf8=_ON_BAD_UTF8.value,
        deduplicate=_DEDUPLICATE.value,
    )


def _read_dupe_factor() -> int:
    # Its default is Google's; a value that was asked for is for `Settings.check`.
    if _MASKING_TIME.value == "dynamic" and not _DUPE_FACTOR.present:
        return 1
    return _DUPE_FACTOR.value


def _hash_user_dict() -> str:
    path = _USER_DICT.value
    return segmentation.load_user_dict(path)[1] if path else ""


def _read_masking() -> str:
    whole_words, chosen = _DO_WHOLE_WORD_MASK.value, _MASKING.value
    if whole_words is None:
        return chosen or "token"
    meant = "wwm" if whole_words else "token"
    if chosen not in (None, meant):
        raise ValueError(
            f"--masking={chosen} contradicts --{'' if whole_words else 'no'}"
            f"do_whole_word_mask, which is --masking={meant}: leave one of them out."
        )
    return meant


def _run_on_beam(job: job_lib.Job, beam_arguments: list[str]) -> manifest_lib.Manifest:
    if _NUM_WORKERS.value is not None:
        raise ValueError(
            "--num_workers is for local processes: with --runner give the runner's own "
            "option behind --, such as -- --direct_num_workers=2."
        )
    try:
        from data_prep.runner import beam as beam_lib
    except ImportError as error:
        raise ValueError(
            f"--runner={_RUNNER.value} needs Apache Beam ({error}): pip install "
            "'apache-beam[gcp]', in an environment of its own (see README)."
        ) from error
    return beam_lib.run(job, _RUNNER.value, beam_arguments, _OVERWRITE.value)


def _choose_workers(job: job_lib.Job) -> int:
    if _NUM_WORKERS.value is None:
        if job.corpus_bytes * job.settings.dupe_factor < _ONE_PROCESS_BYTES:
            return 1
        return os.cpu_count() or 1
    if _NUM_WORKERS.value < 1:
        raise ValueError(
            f"--num_workers={_NUM_WORKERS.value} cannot work: it must be 1 or more."
        )
    return _NUM_WORKERS.value


def _print_summary(
    manifest: manifest_lib.Manifest, planned: outputs.Outputs, seconds: float
) -> None:
    counts = manifest.counts
    sequences = counts["sequences"]
    print(
        f"Text: {counts['files']} files, {counts['documents']} documents, "
        f"{counts['sentences']} sentences, {counts['characters']} characters, "
        f"{counts['tokens']} tokens ({_percent(counts, 'unknown_tokens', 'tokens')} "
        "[UNK])."
    )
    print(
        f"Records: {sequences} sequences, "
        f"{counts['sequence_tokens'] / sequences:.1f} tokens each, "
        f"{_describe_labels(manifest)}{_describe_masks(manifest)}."
    )
    last = f" ... {planned.shards[-1]}" if len(planned.shards) > 1 else ""
    if counts["replacement_characters"]:
        print(
            f"Text holds {counts['replacement_characters']} characters U+FFFD, most "
            "often bytes that were not UTF-8."
        )
    if manifest.fix_punctuation:
        print(f"Punctuation: {counts['punctuation_fixed']} characters replaced.")
    print(f"Shards: {planned.shards[0]}{last}")
    print(f"Manifest: {planned.manifest} (vocabulary: {planned.vocabulary})")
    print(f"Report: {planned.report_page}")
    print(f"Done in {seconds:.1f} s.")


def _describe_masks(manifest: manifest_lib.Manifest) -> str:
    counts = manifest.counts
    if manifest.masking_time == "dynamic":
        return "to be masked while training"
    return (
        f"{counts['masked_tokens'] / counts['sequences']:.2f} tokens masked in each, "
        f"budget filled in {_percent(counts, 'budgets_filled', 'sequences')}"
    )


def _describe_labels(manifest: manifest_lib.Manifest) -> str:
    meaning = {"nsp": ("random_next", "random next"), "sop": ("swapped", "swapped")}
    if manifest.sentence_task not in meaning:
        return ""
    name, words = meaning[manifest.sentence_task]
    return f"{_percent(manifest.counts, name, 'sequences')} {words}, "


def _print_warnings(job: job_lib.Job, manifest: manifest_lib.Manifest) -> None:
    warnings = report.list_warnings(job, manifest.counts)
    empty = [shard["file"] for shard in manifest.shards if not shard["sequences"]]
    if empty:
        warnings.append(
            f"{len(empty)} of {len(manifest.shards)} shards hold no sequence, such as "
            f"{empty[0]}: the text has few documents, so use fewer --num_shards."
        )
    for warning in warnings:
        print(f"create_pretraining_data: warning: {warning}", file=sys.stderr)


def _percent(counts: dict[str, int], part: str, whole: str) -> str:
    return f"{100 * counts[part] / max(1, counts[whole]):.2f} %"


if __name__ == "__main__":
    command_line.run_command(main, "every finished part of the output")
