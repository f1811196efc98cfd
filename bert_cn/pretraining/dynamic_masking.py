"""Draw new masks each time a sequence is read, in TensorFlow graph ops alone.

The rules are those of `data_prep/records/masking.py`, which masks once, while the
records are written. These are the same rules in ops that a remote TPU host can run.
That module works on token columns, this one on words: axis "words" below has
max_seq_length places, and a sequence of n words uses the first n of them.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from data_prep.records import manifest as manifest_lib
from data_prep.records import masking, schema
from data_prep.text import vocab

# Rows of noise. They decide the lengths of runs, the order of words (one row for each
# draw), whether the word that crosses the budget stays, 80/10/10, and replacements.
_RUNS, _ORDERS = 0, 1
_STAYS = _ORDERS + 1 + masking.MORE_DRAWS
_ACTIONS, _REPLACEMENTS = _STAYS + 1, _STAYS + 2
# The place in the row `_STAYS`, whose first places the draws use, that decides whether
# a sequence's whole words are masked or single tokens.
_MIXED = 1 + masking.MORE_DRAWS
_NOISE_ROWS = _REPLACEMENTS + 1


@dataclasses.dataclass(frozen=True)
class MaskRate:
    """A share of masked tokens that changes linearly over a run.

    Ankner et al., 2023 (https://arxiv.org/abs/2305.15096): from 0.3 to 0.15.

    Attributes:
        first: the share in the first sequence.
        last: the share in the last one and after it.
        num_sequences: sequences of the whole run.
    """

    first: float
    last: float
    num_sequences: int

    def at(self, number: tf.Tensor) -> tf.Tensor:
        """Return the share in sequence `number`, a float64 scalar."""
        progress = tf.cast(number, tf.float64) / self.num_sequences
        return self.first + (self.last - self.first) * tf.minimum(progress, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Masker:
    """Masks batches of unmasked records.

    Attributes:
        rules: how sequences are masked.
        mask_id: id of [MASK].
        replacement_ids: int32 [number of live ids], the ids that may replace a token.
        rate: the share that is masked; None for that of the rules.
    """

    rules: masking.MaskingRules
    mask_id: int
    replacement_ids: np.ndarray
    rate: MaskRate | None = None

    def choose_rate(self, number: tf.Tensor) -> tf.Tensor:
        """Return the share to mask in sequence `number`, a float64 scalar."""
        if self.rate is None:
            return tf.constant(self.rules.masked_lm_prob, tf.float64)
        return self.rate.at(number)

    def draw_noise(self, max_seq_length: int, seed: tf.Tensor) -> tf.Tensor:
        """Draw the noise that decides one record's masks.

        Args:
            max_seq_length: tokens of the record.
            seed: int64 [2].

        Returns:
            float32 [rows of noise, max_seq_length] in [0, 1).
        """
        return tf.random.stateless_uniform((_NOISE_ROWS, max_seq_length), seed)

    def mask(
        self,
        features: dict[str, tf.Tensor],
        noise: tf.Tensor,
        rates: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Mask a batch.

        Args:
            features: `schema.DYNAMIC_FEATURES`, int32 [batch, ...], and others, which
                masks do not change.
            noise: float32 [batch, rows of noise, max_seq_length], see `draw_noise`.
            rates: float64 [batch], see `choose_rate`; None for the rules' share.

        Returns:
            `schema.FEATURES`, int32 and for the weights float32, and the others.
        """
        word_ids = features[schema.WORD_IDS]
        if self.rules.masking == "mixed":
            word_ids = _split_some(
                word_ids, noise[:, _STAYS, _MIXED] >= self.rules.whole_word_share
            )
        words = _Words(word_ids)
        if rates is None:
            rates = tf.constant(self.rules.masked_lm_prob, tf.float64)
        budgets = self._count_budgets(features[schema.INPUT_MASK], rates)
        chosen_words = self._choose_words(words, budgets, noise)
        chosen = tf.gather(chosen_words, words.number, batch_dims=1)
        input_ids = features[schema.INPUT_IDS]
        others = {n: v for n, v in features.items() if n != schema.WORD_IDS}
        return {
            **others,
            **self._list_labels(input_ids, chosen),
            schema.INPUT_IDS: self._replace(input_ids, chosen, words.number, noise),
        }

    def _count_budgets(self, input_mask: tf.Tensor, rates: tf.Tensor) -> tf.Tensor:
        """Return the tokens to mask per row, int32 [batch]; `masking.count_budgets`."""
        lengths = tf.cast(tf.reduce_sum(input_mask, axis=1), tf.float64)
        wanted = tf.cast(tf.round(lengths * rates), tf.int32)
        return tf.clip_by_value(wanted, 1, self.rules.max_predictions_per_seq)

    def _choose_words(self, words, budgets, noise) -> tf.Tensor:
        """Return bool [batch, words]; `masking.choose_words`."""
        sizes = tf.where(words.sizes <= budgets[:, None], words.sizes, 0)
        runs = None
        if self.rules.masking == "ngram":
            runs = words.join(noise[:, _RUNS])
        chosen = _draw_words(sizes, budgets, runs, noise, 0)

        def is_short(chosen):
            return tf.reduce_sum(tf.where(chosen, sizes, 0), axis=1) < budgets

        def draw_again(draw, chosen):
            again = _draw_words(sizes, budgets, runs, noise, draw)
            fuller = is_short(chosen) & ~is_short(again)
            return draw + 1, tf.where(fuller[:, None], again, chosen)

        _, chosen = tf.while_loop(
            lambda draw, chosen: (
                (draw <= masking.MORE_DRAWS) & tf.reduce_any(is_short(chosen))
            ),
            draw_again,
            (1, chosen),
        )
        return chosen

    def _replace(self, input_ids, chosen, word_number, noise) -> tf.Tensor:
        """Return the ids after 80/10/10; `masking.apply_masks`."""
        draw = noise[:, _ACTIONS]
        if self.rules.mask_unit == "word":
            draw = tf.gather(draw, word_number, batch_dims=1)
        live = tf.constant(self.replacement_ids, tf.int32)
        place = tf.cast(noise[:, _REPLACEMENTS] * len(self.replacement_ids), tf.int32)
        others = tf.gather(live, tf.minimum(place, len(self.replacement_ids) - 1))
        keep_below = masking.MASK_SHARE + masking.KEEP_SHARE
        replaced = tf.where(draw < keep_below, input_ids, others)
        replaced = tf.where(draw < masking.MASK_SHARE, self.mask_id, replaced)
        return tf.where(chosen, replaced, input_ids)

    def _list_labels(self, input_ids, chosen) -> dict[str, tf.Tensor]:
        """Return positions, labels and weights, [batch, max_predictions_per_seq]."""
        length = chosen.shape[1]
        most = self.rules.max_predictions_per_seq
        # Earlier columns count more, so the largest come in the columns' order.
        ranks = tf.where(chosen, length - tf.range(length), 0)
        ranks = tf.pad(ranks, [[0, 0], [0, max(0, most - length)]])
        top = tf.math.top_k(ranks, most).values
        in_use = top > 0
        positions = tf.where(in_use, length - top, 0)
        labels = tf.gather(input_ids, positions, batch_dims=1)
        return {
            schema.MASKED_LM_POSITIONS: positions,
            schema.MASKED_LM_IDS: tf.where(in_use, labels, 0),
            schema.MASKED_LM_WEIGHTS: tf.cast(in_use, tf.float32),
        }


def build_masker(manifests: tuple[manifest_lib.Manifest, ...]) -> Masker | None:
    """Return the masker of the manifests' records; None if they are stored masked.

    Raises:
        ValueError: some are masked and some are not, or the rules differ.
    """
    dynamic = [m for m in manifests if m.settings.masking_time == "dynamic"]
    found = {manifest.settings.masking_rules: manifest for manifest in dynamic}
    if not found:
        return None
    if len(found) > 1 or len(dynamic) < len(manifests):
        raise ValueError(
            "Input files are masked at different times or by different rules (see "
            f"{', '.join(manifest.path for manifest in manifests)}): train on records "
            "made with the same --masking_time, --masking, --mask_unit and "
            "--masked_lm_prob."
        )
    ((rules, manifest),) = found.items()
    vocabulary = vocab.load_vocabulary(manifest.vocab_path)
    return Masker(rules, vocabulary.mask_id, vocabulary.replacement_ids)


def _split_some(word_ids: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
    """Return the word ids, where `which` [batch] is true each token a word."""
    numbers = 1 + tf.range(word_ids.shape[1], dtype=word_ids.dtype)
    tokens = tf.where(word_ids > 0, numbers, 0)
    return tf.where(which[:, None], tokens, word_ids)


class _Words:
    """The words of a batch.

    Args:
        word_ids: int32 [batch, max_seq_length], see `schema.WORD_IDS`.

    Attributes:
        number: int32 [batch, max_seq_length], the number of each token's word; a token
            that is never masked counts as a word.
        sizes: int32 [batch, words], tokens; 0 for words that are never masked.
    """

    def __init__(self, word_ids: tf.Tensor):
        maskable = word_ids > 0
        starts = tf.concat(
            [
                tf.ones_like(maskable[:, :1]),
                (word_ids[:, 1:] != word_ids[:, :-1]) | ~maskable[:, 1:],
            ],
            axis=1,
        )
        self.number = tf.cumsum(tf.cast(starts, tf.int32), axis=1) - 1
        batch, length = tf.shape(word_ids)[0], word_ids.shape[1]
        flat = self.number + length * tf.range(batch)[:, None]
        counts = tf.math.unsorted_segment_sum(
            tf.cast(maskable, tf.int32), flat, batch * length
        )
        self.sizes = tf.reshape(counts, (batch, length))

    def join(self, draws: tf.Tensor) -> tf.Tensor:
        """Join words into runs; `masking.join_words`.

        Args:
            draws: float32 [batch, words], which decide the lengths of runs.

        Returns:
            int32 [batch, words], number of each word's run.
        """
        limits = tf.constant(np.cumsum(masking.NGRAM_SHARES[:-1]), tf.float32)
        lengths = 1 + tf.reduce_sum(
            tf.cast(draws[..., None] >= limits, tf.int32), axis=-1
        )
        places = tf.zeros_like(lengths) + tf.range(lengths.shape[1])
        drawn = tf.searchsorted(tf.cumsum(lengths, axis=1), places, side="right")
        out_of_reach = self.sizes == 0
        begins = tf.concat(
            [
                tf.ones_like(out_of_reach[:, :1]),
                (drawn[:, 1:] != drawn[:, :-1])
                | out_of_reach[:, 1:]
                | out_of_reach[:, :-1],
            ],
            axis=1,
        )
        return tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1


def _draw_words(sizes, budgets, runs, noise, draw) -> tf.Tensor:
    """Return bool [batch, words]; `masking._draw_words`.

    Args:
        sizes: int32 [batch, words], 0 for words that cannot be chosen.
        budgets: int32 [batch].
        runs: int32 [batch, words]; words with one number stay together; or None.
        noise: see `Masker.draw_noise`.
        draw: the number of the draw, which has its own order of words.
    """
    keys = noise[:, _ORDERS + draw]
    if runs is not None:
        keys = tf.gather(keys, runs, batch_dims=1)
    # Stable, so that words of one run keep their order.
    order = tf.argsort(tf.where(sizes > 0, keys, 2.0), axis=1, stable=True)
    ordered = tf.gather(sizes, order, batch_dims=1)
    room = budgets[:, None] - tf.cumsum(ordered, axis=1, exclusive=True)
    valid = ordered > 0
    taken = valid & (ordered <= room)
    crossing = valid & (room > 0) & (ordered > room)
    taken = _even_out(taken, ordered, crossing, room, noise[:, _STAYS, draw])
    back = tf.argsort(order, axis=1)
    return tf.gather(taken, back, batch_dims=1)


def _even_out(taken, sizes, crossing, room, draws) -> tf.Tensor:
    """Bring rows to their budget, with or without a crossing word; `masking._even_out`.

    Args:
        taken: bool [batch, words].
        sizes: int32 [batch, words].
        crossing: bool [batch, words], at most one true in each row.
        room: int32 [batch, words].
        draws: float32 [batch], which decide whether the crossing words stay.
    """
    size = tf.reduce_sum(tf.where(crossing, sizes, 0), axis=1)
    missing = tf.reduce_sum(tf.where(crossing, room, 0), axis=1)
    stays = 2.0 * draws * tf.cast(size, tf.float32) < tf.cast(
        size + missing, tf.float32
    )
    given_back, excess = _take_fitting(taken, sizes, tf.where(stays, size - missing, 0))
    stays &= excess == 0
    fillers = (sizes > 0) & ~taken & ~crossing
    filled, _ = _take_fitting(fillers, sizes, tf.where(stays, 0, missing))
    stays = stays[:, None]
    return tf.where(stays, (taken & ~given_back) | crossing, taken | filled)


def _take_fitting(candidates, sizes, wanted) -> tuple[tf.Tensor, tf.Tensor]:
    """Take the first words that fit; `masking._take_fitting`."""
    words = candidates.shape[1]

    def fitting(taken, wanted):
        return candidates & ~taken & (sizes <= wanted[:, None])

    def take_one(taken, wanted):
        fits = fitting(taken, wanted)
        first = tf.argmax(tf.cast(fits, tf.int32), axis=1, output_type=tf.int32)
        word = (tf.range(words) == first[:, None]) & fits
        return taken | word, wanted - tf.reduce_sum(tf.where(word, sizes, 0), axis=1)

    return tf.while_loop(
        lambda taken, wanted: tf.reduce_any(fitting(taken, wanted)),
        take_one,
        (tf.zeros_like(candidates), wanted),
    )
