"""The claims of Zhou et al. 2024 as data, each with its control; controls that the paper lacks; and claims of its critics.

To add a claim: a function Study -> readings in `zhou2024_measures`, `zhou2024_embeddings` or `zhou2024_controls`, and one `Claim` in CLAIMS. Values published
for GPT-2-XL stand beside ours, never in one column: the models differ in size, data and range.
"""

import re
from collections.abc import Sequence
from functools import partial

from epicycle.studies.ledger import Claim, Entry, Reading, grade
from epicycle.studies.zhou2024 import Study
from epicycle.studies.zhou2024_controls import (
    beyond_random_subspaces,
    beyond_token_frequency,
    decimal_periods,
    digit_moves,
    helix_carries,
    mlps_build,
    operand_order,
    order_of_numbers,
    same_division,
    separable,
    table_order,
)
from epicycle.studies.zhou2024_embeddings import clusters, kept_by_tuning, no_outliers_from_scratch, outlier_periods
from epicycle.studies.zhou2024_measures import (
    LEVEL,
    division_of_labour,
    errors_without_high,
    errors_without_low,
    fine_tuned,
    high_lives_in_attention,
    low_lives_in_mlps,
    near_misses_from_scratch,
    not_remembered,
    other_task,
    parity_alone,
    periodic_modules,
    phases,
    planted_rescues,
    prompted_errors,
    prompted_outliers,
    refinement,
    rescue,
    rescue_by,
    rescue_needs_numbers,
    sparsity,
    superposition,
)
from epicycle.studies.zhou2024_presets import GENTLE, HALF

_XL = "GPT-2-XL, numbers 0..520"
_MORE = "the preset full, or with --model the option or the model it is about"
_LACKS = "control the paper lacks"
_SIGN = "both contrasts keep their sign or move by at most 0.1"
_UNSORTED: tuple[Claim, ...] = (
    Claim("L1", "The last digit of an operand is a part of its code that the answer follows.", "Levy and Geva 2024", "shown for Llama and Mistral", "answers that move by five with the digit's mean",
          "a random step of that length", "at least 0.5, and 0.1 above the control", "a model that adds, with --helix", digit_moves),
    Claim("P1", "A pre-trained model tuned on sums answers nearly all held-out ones.", "section 3, Table 1", f"0.9974 ({_XL})",
          "test accuracy, pre-trained and tuned", "from scratch", "at least 0.99", "three seeds", fine_tuned),
    Claim("P2", "Half way up the layers the answer is near before it is exact.", "section 3.1, Fig. 1a", "layers 20 to 30 of 48, no number",
          "accuracy within 10 less exact accuracy, middle layer", "best constant answer within 10",
          "a gap of at least 0.3, and within 10 more than twice the guess", "a deeper model", refinement),
    Claim("P4", "In the high band, module logits are sparse: their power is at periods 2, 2.5, 3.3, 5 and 10.", "section 3.2, Fig. 3",
          "shown, not measured", "share of high-band power at those periods", "random vectors through the same unembedding", "three times their share of the bins, and above the control",
          "three seeds", sparsity),
    Claim("P5", "MLP logits lean more to low frequencies than attention logits, layer by layer.", "section 3.2, Fig. 3", "shown, not measured",
          "least ratio over layers", "from scratch", "above 1", "three seeds", division_of_labour),
    Claim("P6", "Five waves of the final logits already sum to a peak at the answer.", "section 3.2, Fig. 4", "one example",
          "share of test questions", "the largest wave alone", "at least 0.9", "three seeds", superposition),
    Claim("P8a", "Low frequencies of the MLPs matter; those of attention do not.", "section 3.3, Table 1",
          f"without them 0.3589, attention's 0.9912 ({_XL})", "accuracy without the MLPs' low band", "random subspaces of the same rank",
          "0.1 below attention's and below every control, and attention's within 0.1 of none", "a wider model", low_lives_in_mlps),
    Claim("P8b", "High frequencies of attention matter; those of the MLPs do not.", "section 3.3, Table 1",
          f"without them 0.7836, the MLPs' 0.9810 ({_XL})", "accuracy without attention's high band", "random subspaces of the same rank",
          "0.1 below the MLPs' and below every control, and the MLPs' within 0.1 of none", "a wider model", high_lives_in_attention),
    Claim("P9a", "Without the MLPs' low band, errors are multiples of ten.", "section 3.3, Fig. 20", f"all ({_XL})",
          "share of errors", "errors paired at random", "at least 0.9", "a model that errs", errors_without_low),
    Claim("P9b", "Without attention's high band, errors are below six.", "section 3.3, Fig. 21", f"all ({_XL})", "share of errors", "none",
          "at least 0.9", "a model that errs", errors_without_high),
    Claim("P10", "Period 2 alone gives the parity of the answer.", "App. B, Fig. 10", f"0.9959 ({_XL})", "parity with only that wave kept",
          "random subspaces of the same rank", "at least 0.95, and above every control", "a width of more than one and a half times the numbers", parity_alone),
    Claim("P11a", "Pre-trained number embeddings have outliers at periods 2, 2.5, 5 and 10.", "section 4.1, Fig. 5", "shown, no test",
          "worst place by share without the trend", "worst p-value within decades", f"all in the top ten with p <= {LEVEL}", "three seeds",
          outlier_periods),
    Claim("P11b", "Tuning leaves these outliers in place.", "App. D, Fig. 14", "shown, no test", "worst place after tuning of those that were outliers",
          "their worst place before", f"those in the top ten with p <= {LEVEL} before are so after", "an embedding with outliers, and its tuned one", kept_by_tuning),
    Claim("P13a", "An embedding trained from scratch on sums has no outlier in the high band.", "section 4.2, Fig. 7a", "shown, no test",
          "smallest family-wise p-value of the high band", "the same, pre-trained", "above 0.05", "three seeds", no_outliers_from_scratch),
    Claim("P13b", "From scratch, wrong answers are within two of the right one.", "section 4.2, App. F, Fig. 22", f"all ({_XL})",
          "share of errors", "share of multiples of ten", "at least 0.9", "a model that errs", near_misses_from_scratch),
    Claim("P14", "Frozen pre-trained embeddings rescue a model trained from scratch.", "section 4.2, Fig. 7b",
          "1.00 in five of five seeds, scratch 0.5395 (GPT-2-small)", "test accuracy", "from scratch, equal steps",
          "at least 0.99, scratch below 0.95", "three seeds", rescue),
    Claim("C9a", "It is not freezing that rescues: random rows of the same lengths do not.", _LACKS, "not in the paper",
          "test accuracy", "from scratch", "below 0.95", "three seeds", rescue_needs_numbers),
    Claim("C9b", "Waves planted by hand rescue as well.", _LACKS, "not in the paper", "test accuracy", "from scratch",
          "at least 0.99, scratch below 0.95", "three seeds", planted_rescues),
    Claim("P3", "Single modules answer modulo 2 or modulo 10.", "section 3.1, Figs. 1, 2", "layers 33, 40, 45", "share of an MLP's logits that n mod 10 explains",
          "random vectors through the same unembedding", "at least 0.2, above the control and twice n mod 3, 7, 9, 11; most attention layers as well", "three seeds", periodic_modules),
    Claim("P7", "The longest wave misses the answer, the shortest hits it modulo 2.", "App. C, Figs. 12, 13", "one example", "share of questions whose longest wave peaks at the answer",
          "the same, period 2", "below 0.5, period 2 at least 0.95", "three seeds", phases),
    Claim("P12", "Number embeddings cluster by magnitude and by being a multiple of ten.", "section 4.1, Fig. 5b", "shown", "agreement with the clusters (adjusted mutual information)",
          "95 % of clusters dealt at random", "both above their control", "three seeds", clusters),
    Claim("P15a", "A prompted model shows the same outliers.", "section 4.3, Figs. 8, 18", "shown", "share of high-band power at periods 2, 2.5, 3.3, 5, 10", "random vectors through the same unembedding",
          "three times their share of the bins, and above the control", "a model that adds from examples", prompted_outliers),
    Claim("P15b", "A prompted model's errors are multiples of ten.", "section 4.3", "GPT-J 93 %, Phi-2 73 %", "share of errors", "errors paired at random", "at least 0.7",
          "a model that adds from examples", prompted_errors),
    Claim("P16", "The second format gives the same pictures.", "App. C.3", "shown", "share of high-band power at periods 2, 2.5, 3.3, 5, 10", "random vectors through the same unembedding", "three times their share of the bins, and above the control",
          _MORE, partial(other_task, name="second format")),
    Claim("P17", "Multiplication gives spectra sparse at 2, 2.5, 3.3, 5 and 10 too.", "App. C.2", "shown; accuracy 0.7458", "share of high-band power at those periods", "random vectors through the same unembedding",
          "three times their share of the bins, and above the control", _MORE, partial(other_task, name="products")),
    Claim("P18", "Models do not merely remember: unseen pairs are answered as well as trained ones.", "section 3", "interpretive", "test accuracy", "on questions it was trained on",
          "at least 0.9, and within 0.05", _MORE, not_remembered),
    Claim("C1a", "Without the MLPs' low band more is lost than without any random subspace of its rank.", _LACKS, "not in the paper", "accuracy", "lowest of random subspaces, anywhere or in the row space",
          "0.1 below", "a wider model", partial(beyond_random_subspaces, modules="mlp", band="low")),
    Claim("C1b", "Without attention's high band more is lost than without any random subspace of its rank.", _LACKS, "not in the paper", "accuracy", "lowest of random subspaces, anywhere or in the row space",
          "0.1 below", "a wider model", partial(beyond_random_subspaces, modules="attn", band="high")),
    Claim("C2", "The division of labour is the same in the basis as printed.", _LACKS, "not in the paper", "what the low band costs MLPs more than attention", "orthonormal basis", _SIGN, _MORE,
          partial(same_division, names=("as printed",))),
    Claim("C3", "It is the same with outputs filtered at every position.", _LACKS, "not in the paper", "what the low band costs MLPs more than attention", "answer position", _SIGN, _MORE,
          partial(same_division, names=("all positions",))),
    Claim("C4", "It is the same for other cuts and readings of the cut.", _LACKS, "not in the paper", "what the low band costs MLPs more than attention, of answers among the numbers", "cut at 10.4 (of presets: over half of the numbers throughout)", _SIGN, _MORE,
          partial(same_division, names=("cut at 26", "cut at 15", "cut at 7.4", "cut at 5.2", "as printed, cut by row"), usually=HALF, over="number_accuracy")),
    Claim("C5", "It is the same with the final norm folded in.", _LACKS, "not in the paper", "what the low band costs MLPs more than attention", "norm left out", _SIGN, _MORE,
          partial(same_division, names=("norm folded",))),
    Claim("C6", "It is decimal periods that matter: without period 10 more is lost than without 7, 9 or 11.", _LACKS, "not in the paper", "accuracy without period 10", "lowest without 7, 9 or 11", "0.1 below",
          "three seeds", decimal_periods),
    Claim("C7", "The residues in the logits go with the order of the numbers.", _LACKS, "not in the paper", "largest share that n mod 10 explains", "numbers in random order, or random vectors, the larger", "twice random order, and above random vectors", "three seeds",
          order_of_numbers),
    Claim("C8", "The outliers of the embedding are beyond what token frequency explains.", _LACKS, "not in the paper", "worst p-value, token frequency kept", "within decades", f"p <= {LEVEL}", "counts of the numbers",
          beyond_token_frequency),
    Claim("C9c", "The frozen input embedding alone rescues.", _LACKS, "not in the paper", "test accuracy", "from scratch", "at least 0.99, scratch below 0.95", _MORE, partial(rescue_by, name="frozen-input")),
    Claim("C9d", "The frozen output embedding alone rescues.", _LACKS, "not in the paper", "test accuracy", "from scratch", "at least 0.99, scratch below 0.95", _MORE, partial(rescue_by, name="frozen-output")),
    Claim("C10", "The seven accuracies of Table 1 have the published order in every seed.", _LACKS, "one run", "rank correlation with the published", "95 % of random orders", "at least 0.8, and above the control", "three seeds", table_order),
    Claim("C11", "It answers with the larger operand first as well.", _LACKS, "not in the paper", "accuracy, larger first", "smaller first", "within 0.05", _MORE, operand_order),
    Claim("F1", "The last digit can be read linearly from the pre-trained embedding.", "Fu et al. 2026", "kappa 0.72 and 0.85 (transformers of 300M), 0.78 (DeltaNet), 0.02 (LSTM)", "kappa, held-out numbers", "95 % of shuffled labels", "above it, and at least 0.5", "three seeds", separable),
    Claim("K1", "A helix of the operand carries what the answer needs.", "Kantamneni and Tegmark 2025", "shown for GPT-J, Pythia, Llama", "logit difference regained by a held-out helix", "by shuffled numbers",
          "half of the way from the control to the whole vector", "a model that adds", helix_carries),
    Claim("K2", "MLPs build the sum, from operands that attention brings.", "Kantamneni and Tegmark 2025, against Zhou et al.", "GPT-J: MLPs 14 to 18", "share of the output, first layer where a tenth depends on the answer", "of attention there",
          "MLP at least a tenth, attention below", "a model that adds", mlps_build),
)  # fmt: skip


MECHANISM = (
    "P2",
    "P3",
    "P4",
    "P5",
    "P6",
    "P7",
    "P8a",
    "P8b",
    "P9a",
    "P9b",
    "C1a",
    "C1b",
    "C6",
    "C7",
    "C10",
    "K1",
    "K2",
    "L1",
)
"""Claims on the mechanism, which are graded once more on the arm that keeps the pre-trained embedding: tuning everything, as our recipe
does it, may put another code in its place."""
OF_EMBEDDINGS = ("P11a", "P12", "C8", "F1")
"""Claims on the pre-trained embedding, which no tuning has changed."""
UNTUNED = "After a text that states sums in either order."
TUNED = (*MECHANISM, *OF_EMBEDDINGS, "P1", "P10", "P11b", "P16", "P17", "P18", "C2", "C3", "C4", "C5", "C11")
"""Claims that are graded once more on the model that read solved sums and was tuned gently, which is nearest to the paper's."""


def _on(claim: Claim, suffix: str, which: str, words: str) -> Claim:
    """The same claim on another arm in place of the tuned one."""

    def measure(study: Study) -> Sequence[Reading]:
        kept = {("pretrained", seed): found for (arm, seed), found in study.explanations.items() if arm == which}
        scratch = {key: found for key, found in study.explanations.items() if key[0] == "scratch"}
        variants, embeddings = {}, study.embeddings
        if which == GENTLE:
            variants, embeddings = study.gentle_variants, study.reader_embeddings
        assert claim.measure is not None
        other = study._replace(explanations=kept | scratch, variants=variants, embeddings=embeddings)
        return claim.measure(other) if kept else []

    return claim._replace(
        id=f"{claim.id}-{suffix}",
        statement=f"{claim.statement} {words}",
        needs=f"the arm {which}; {claim.needs}",
        measure=measure,
    )


def _place(claim: Claim) -> tuple[int, int, str]:
    """P1 to P18, then the controls C1 to C11, then the critics."""
    letter, number = claim.id[0], re.sub(r"\D", "", claim.id)
    return "PCFKL".index(letter), int(number), claim.id


CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        [
            *_UNSORTED,
            *(
                _on(claim, "frozen", "frozen-embedding", "With the pre-trained embedding frozen.")
                for claim in _UNSORTED
                if claim.id in MECHANISM
            ),
            *(
                _on(
                    claim,
                    "gentle",
                    GENTLE,
                    UNTUNED
                    if claim.id in OF_EMBEDDINGS
                    else "Tuned gently after a text that states sums in either order.",
                )
                for claim in _UNSORTED
                if claim.id in TUNED
            ),
        ],
        key=_place,
    )
)


def ledger(study: Study) -> list[Entry]:
    """Every claim with its verdict; for given models it speaks of these alone, on parts of their questions.

    Claims once more on another arm are those of presets: a given model is the one it is.
    """
    if study.preset is None:
        own = [claim for claim in CLAIMS if "-" not in claim.id]
        return [grade(claim, study, least=1, unit="parts of the questions of one model") for claim in own]
    return [grade(claim, study) for claim in CLAIMS]
