"""Objectives of sentence embeddings, and the sets that suit them. Light to import."""

import dataclasses

COSINE, SOFTMAX, RANKING = "cosine", "softmax", "ranking"
COSENT, ANGLE = "cosent", "angle"
OBJECTIVES = (COSINE, COSENT, ANGLE, SOFTMAX, RANKING)
# Those that learn from scores, and of them those that look at their order alone.
SCORED = (COSINE, COSENT, ANGLE)
ORDERED = (COSENT, ANGLE)
# Sets of pairs with a score, and the score of two texts that mean the same.
MAX_SCORES = {
    "sts-b": 5.0,
    "sts-b-zh": 5.0,
    "mrpc": 1.0,
    "qqp": 1.0,
    "afqmc": 1.0,
    "lcqmc": 1.0,
    "bq": 1.0,
}
# Sets of pairs with a class.
CLASSIFIED = ("mnli", "ocnli", "mrpc", "qqp", "afqmc", "lcqmc", "bq")


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
            negatives of the batch, if it has any, are among the candidates. `COSENT`:
            log(1 + the sum of exp(scale * (cos_i - cos_j)) over all i and j of the
            batch where pair j has the higher score (Su, 2022,
            https://kexue.fm/archives/8847). `ANGLE`: the same with another similarity,
            see `model.angle_similarity` (Li and Li, 2023,
            https://arxiv.org/abs/2309.12871).
        num_labels: classes of `SOFTMAX`.
        scale: `RANKING`, `COSENT` and `ANGLE` multiply similarities by it.
    """

    name: str
    num_labels: int = 0
    scale: float = 20.0
