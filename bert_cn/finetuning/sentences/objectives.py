"""Objectives of sentence embeddings, and the sets that suit them. Light to import."""

import dataclasses

COSINE, SOFTMAX, RANKING = "cosine", "softmax", "ranking"
COSENT, ANGLE, SIMCSE = "cosent", "angle", "simcse"
OBJECTIVES = (COSINE, SOFTMAX, RANKING, COSENT, ANGLE, SIMCSE)
# They learn from pairs with a score.
SCORED = (COSINE, COSENT, ANGLE)
# They compare the texts of a whole batch.
IN_BATCH = (RANKING, COSENT, ANGLE, SIMCSE)
# Sets of pairs with a score, and the score of two texts that mean the same.
MAX_SCORES = {
    "sts-b": 5.0,
    "sts-b-zh": 5.0,
    "mrpc": 1.0,
    "qqp": 1.0,
    "afqmc": 1.0,
    "lcqmc": 1.0,
    "bq": 1.0,
    "paws-x": 1.0,
}
# Sets of pairs with a class.
CLASSIFIED = ("mnli", "ocnli", "mrpc", "qqp", "afqmc", "lcqmc", "bq", "paws-x")


@dataclasses.dataclass(frozen=True)
class Objective:
    """The loss that training lowers.

    Attributes:
        name: `COSINE`: the squared difference of the cosine from a score (Reimers and
            Gurevych, 2019, section 3, regression). `SOFTMAX`: the cross entropy of a
            dense layer on (u, v, |u - v|) (the same, classification); the layer is not
            saved. `RANKING`: the cross entropy of finding the second text of a pair
            among those of the batch (Henderson et al., 2017, "Efficient Natural
            Language Response Suggestion for Smart Reply",
            https://arxiv.org/abs/1705.00652, section 4.4), by the scaled cosine. The
            negatives of the batch, if it has any, are among the candidates. `COSENT`
            and `ANGLE`: the order of the cosines or angles within the batch, see
            `losses.order`. `SIMCSE`: `RANKING` of lines, each of which is its own
            second text with other dropout (Gao et al., 2021,
            https://arxiv.org/abs/2104.08821, section 3).
        num_labels: classes of `SOFTMAX`.
        scale: all but the first two multiply cosines or angles by it: the inverse of
            the temperature.
        matryoshka_dims: widths that embeddings are cut to; the loss is the sum of
            those of all widths. Empty for the full width alone.
        mini_batch_size: of those that are `IN_BATCH`: rows of a batch that go through
            the model at a time, see `gradient_cache`; 0 for all.
    """

    name: str
    num_labels: int = 0
    scale: float = 20.0
    matryoshka_dims: tuple[int, ...] = ()
    mini_batch_size: int = 0


def complete_widths(objective: Objective, hidden_size: int) -> Objective:
    """Return the objective with the full width among its `matryoshka_dims`.

    sentence-transformers warns of a full width that is not trained; here it always is.

    Args:
        objective: one without `matryoshka_dims` is returned as it is.
        hidden_size: the full width of an embedding.

    Raises:
        ValueError: a width is larger.
    """
    widths = objective.matryoshka_dims
    if not widths:
        return objective
    if max(widths) > hidden_size:
        raise ValueError(
            f"--matryoshka_dims has {max(widths)}, and the model's embeddings have "
            f"{hidden_size} dimensions: leave it out."
        )
    widths = tuple(sorted({*widths, hidden_size}, reverse=True))
    return dataclasses.replace(objective, matryoshka_dims=widths)
