"""What the figures of features, traces and spans mean."""

from __future__ import annotations

from kthink_core.outline import LEADS, TURNS
from kthink_core.ui.parts.term import Term

FEATURES: dict[str, Term] = {
    "activation": Term(
        "Activation",
        "How strongly a feature fires at a position: one of the values that the SAE keeps there, if it is positive. "
        "x is the captured vector. A k-sparse SAE keeps the k largest, k its own number; one without a k all that are "
        "positive (`standard`) or above a threshold of their own (`jumprelu`). A zero is not an activation.",
        r"a_i(x) = \mathrm{top}_k\big(\mathrm{relu}(W_{enc}\,(x - b_{dec}) + b_{enc})\big)_i",
    ),
    "scope": Term(
        "Scope",
        "Which positions count. **generated**: all that the model wrote; **think**: up to and including `</think>`; "
        "**answer**: after it; **prompt**: what it was given; **all**: everything.",
    ),
    "relevant": Term(
        "Relevant features of an inference",
        "The features of an inference with the largest maximum activation over the positions in scope: ten, unless "
        "another number is chosen.",
        r"\text{the 10 features with largest } \max_{p \in \text{scope}} a_i(p)",
    ),
    "relevant_in": Term(
        "Relevant in n of m inferences",
        "In how many inferences a feature is among the relevant features. Ties go to the smaller feature id.",
        r"\#\{\text{inferences in which } i \text{ is relevant}\}",
    ),
    "share": Term(
        "Share",
        "Of the positions that count, the part at which the feature fires.",
        r"\mathrm{share} = \frac{\#\{p : a_i(p) > 0\}}{\#\{p\}}",
    ),
    "density": Term(
        "Density",
        "The share of all positions in scope, over all inferences, at which the feature fires.",
        r"\frac{\#\{p : a_i(p) > 0\}}{\#\{p\}}",
    ),
    "maximum": Term(
        "Maximum activation",
        "The largest activation over the positions in scope: of one inference or of all, as the place says.",
        r"\max_{p \,\in\, \text{scope}} a_i(p)",
    ),
    "mean": Term(
        "Mean activation",
        "The mean over the positions at which the feature fires; where it is silent does not count.",
        r"\frac{\sum_p a_i(p)}{\#\{p : a_i(p) > 0\}}",
    ),
    "ranking": Term(
        "Ranking",
        "What the features of an inference are ordered by, in scope: **maximum** activation, **mean** activation, "
        "**frequency** (positions at which it fires) or **lift** over the experiment. Ties go to the smaller id.",
    ),
    "rank": Term(
        "Rank",
        "The feature's place among the features of that inference by maximum activation, in scope; 1 to 10: relevant, "
        "unless another number is chosen.",
    ),
    "lift": Term(
        "Lift",
        "How many times as often a feature fires in this inference as in the whole experiment, in scope. 1: as often "
        "as anywhere.",
        r"\mathrm{lift} = \frac{\text{share in this inference}}{\text{share in all inferences}}",
    ),
    "span_lift": Term(
        "Lift of a span",
        "How many times as often a feature fires in the chosen span of n positions (k of them) as in the other m "
        "positions of the trace (r of them). Half a position is added to each count, so that a feature that is silent "
        "elsewhere has a finite lift. Features come by the lower end of its interval; in spans of four or more, those "
        "that fire there once are left out.",
        r"L = \frac{(k + \tfrac12)\,/\,(n + 1)}{(r + \tfrac12)\,/\,(m + 1)}",
    ),
    "steps": Term(
        "Steps and what stands out in each",
        "A trace is cut, prompt, thought and answer apart, into **sentences**, **paragraphs** (up to an empty line) or "
        f"**turns**: a turn begins with a sentence that begins with one of {', '.join(TURNS).replace(',,', ',')}, or "
        f"with one of them behind {', '.join(LEADS)}. The three features of a step are those that marking it shows "
        "first: by the lower end of the interval of the lift, in the step against all other positions of the trace. "
        "With thousands of features and many steps some stand out by chance: a table of contents, not a finding.",
    ),
    "lift_interval": Term(
        "At least, at most",
        "The ends of a 95 % interval of a span's lift L (Katz et al. 1978, with half a position added to each count): "
        "wide where few positions say so. It takes positions for independent, which words of a text are not, and does "
        "not know how many features were looked at: a guide to the eye, not a test.",
        r"L\,e^{\mp 1.96\,s} \\ "
        r"s^2 = \frac{1}{k + \tfrac12} - \frac{1}{n + 1} + \frac{1}{r + \tfrac12} - \frac{1}{m + 1}",
    ),
    "fires_with_lift": Term(
        "Lift of features that fire together",
        "How many times as often another feature j fires where this one, i, does as it fires anywhere in scope. 1: "
        "they have nothing to do with each other.",
        r"\frac{\#\{a_i > 0,\ a_j > 0\}\,/\,\#\{a_i > 0\}}{\#\{a_j > 0\}\,/\,\#\{p\}}",
    ),
    "think_minus_answer": Term(
        "Think − answer",
        "Share of the thinking's positions at which a feature fires, less that of the answers' positions, over all "
        "inferences. 1: at every position of the thinking and never after it. Missing where a side has no positions.",
        r"\mathrm{share}_{think} - \mathrm{share}_{answer}",
    ),
    "right_minus_wrong": Term(
        "Right − wrong",
        "Share of generated positions at which a feature fires in right inferences, less that in wrong ones; what was "
        "cut off or is ungraded is on neither side. A difference, not a cause: long traces and hard problems weigh in.",
        r"\mathrm{share}_{right} - \mathrm{share}_{wrong}",
    ),
    "verdict": Term(
        "Verdict",
        "How an inference came out, exactly one of four. **cut off**: it reached the limit of tokens, whatever it had "
        "written. Of those that ended by themselves, **right** or **wrong**: the final answer against the problem's "
        "reference; **ungraded**: there is no reference. Every count and contrast goes by it.",
    ),
    "percentile": Term(
        "Percentile",
        "The share of the stored inferences whose own maximum of the feature, 0 where it never fires, is below this.",
        r"\frac{\#\{r : \max_{p \in r} a_i(p) < a\}}{\#\{r\}}",
    ),
    "excess": Term(
        "Excess",
        "The maximum of a live run over the largest of all stored inferences: above 1 it exceeds them all.",
        r"\frac{a}{\max_{r} \max_{p \in r} a_i(p)}",
    ),
    "top_tokens": Term(
        "Top tokens",
        "Distinct token ids by the feature's maximum activation at positions holding them, in scope. Labelled "
        "token:id, because different ids can print alike; · is a space, ⏎ a newline.",
    ),
    "quarters": Term(
        "Contexts",
        "Stretches around places where the feature fires, each once: of those that overlap in an inference the "
        "strongest, of those with the same sentence, or with four fifths of their tokens in common, the first; *and 3 "
        "more positions* says and opens what it stands for. The highest come first, then samples of others from "
        "each quarter of the range of activations, not of their number: the fourth quarter holds those above three "
        "quarters of the maximum. The sample is drawn by a fixed order and is the same on every visit.",
        r"\text{quarter } j:\ \tfrac{j-1}{4}\,a_{max} < a \le \tfrac{j}{4}\,a_{max}",
    ),
    "logit_lens": Term(
        "Logit lens",
        "What the feature's decoder direction adds to the logit of each token if it went straight to the output, "
        "through the weight γ of the final norm (without its scale) and the unembedding W_U. Later layers change that: "
        "a hint, not an effect.",
        r"W_U\,(\gamma \odot W_{dec}[i])",
    ),
    "cosine": Term(
        "Cosine",
        "Between the decoder directions of two features of a hookpoint. Near 1: they write the same; unrelated ones "
        "lie near 0.",
        r"\frac{W_{dec}[i] \cdot W_{dec}[j]}{\lVert W_{dec}[i] \rVert\,\lVert W_{dec}[j] \rVert}",
    ),
}
