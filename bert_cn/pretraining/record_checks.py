"""What the manifests beside the records must agree on with each other and the model."""

from bert_cn.conversion import pretrained
from bert_cn.model import config as config_lib
from bert_cn.pretraining import input_pipeline
from data_prep.records import manifest as manifest_lib
from data_prep.text import vocab as vocab_lib


def load_vocabulary(
    manifests: tuple[manifest_lib.Manifest, ...], vocab_file: str
) -> vocab_lib.Vocabulary | None:
    """Load the one vocabulary that the manifests and --vocab_file agree on.

    Returns:
        None if neither names one.

    Raises:
        ValueError: they name different ones.
    """
    paths = {manifest.vocab_sha256: manifest.vocab_path for manifest in manifests}
    if vocab_file:
        vocabulary = vocab_lib.load_vocabulary(vocab_file)
        paths.setdefault(vocabulary.sha256, vocabulary.path)
    if len(paths) > 1:
        raise ValueError(
            "The records and --vocab_file name different vocabularies "
            f"({', '.join(sorted(paths.values()))}): leave --vocab_file out, or make "
            "the records anew with one vocabulary."
        )
    return vocab_lib.load_vocabulary(*paths.values()) if paths else None


def check_vocabulary_size(
    vocabulary: vocab_lib.Vocabulary | None,
    config: config_lib.BertConfig,
    config_file: str,
) -> None:
    """Raise ValueError if the vocabulary has another size than the model."""
    if vocabulary is not None:
        pretrained.check_vocabulary_size(
            vocabulary,
            config,
            f"the model of {config_file!r}",
            "use the model configuration that goes with the records, or set "
            f"vocab_size to {len(vocabulary)}.",
        )


def find_casing(
    manifests: tuple[manifest_lib.Manifest, ...], do_lower_case: bool | None
) -> bool | None:
    """Return whether all records were lower-cased; None if nothing says so.

    Args:
        manifests: of the records.
        do_lower_case: the flag, or None.

    Raises:
        ValueError: manifests and flag do not say the same.
    """
    found = {manifest.do_lower_case for manifest in manifests}
    found |= {do_lower_case} - {None}
    if len(found) > 1:
        raise ValueError(
            "The records (see their manifests) and --do_lower_case differ in their "
            "casing, and a model has one: make the records alike, or leave the flag "
            "out."
        )
    return found.pop() if found else None


def find_sentence_task(files: input_pipeline.RecordFiles) -> str:
    """Return the second objective of the records: "nsp", "sop" or "none".

    Records without a manifest are Google's, which have "nsp".

    Raises:
        ValueError: records of different sentence tasks are mixed.
    """
    tasks = {manifest.sentence_task for manifest in files.manifests} or {"nsp"}
    if len(tasks) > 1:
        raise ValueError(
            f"--input_file mixes records of the sentence tasks {sorted(tasks)}: train "
            "on records of one --sentence_task."
        )
    return tasks.pop()
