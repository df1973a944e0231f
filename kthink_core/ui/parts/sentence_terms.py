"""What the figures mean that are about the sentences of a thought."""

from __future__ import annotations

from kthink_core.ui.parts.term import Term

SENTENCES: dict[str, Term] = {
    "sentence_importance": Term(
        "Importance of a sentence",
        "From just before the sentence and from just after it, the model goes on many times, with the same seeds. The "
        "importance is how far apart the two distributions of final answers are (thought anchors, arXiv 2506.19143): "
        "with a and b the counts of each answer after and before, over the m answers seen at either place, and n "
        "rollouts from each. No answer counts as an answer. Half a count is added to each, so that no answer is "
        "impossible that was not seen by luck. The divergence is from after to before, KL(after ‖ before): with the "
        "sentence first, without it second. It is not symmetric: figures of the other direction are others.",
        r"\sum p \ln\frac{p}{q},\quad p = \frac{a + ½}{n + m/2},\quad q = \frac{b + ½}{n + m/2}",
    ),
    "sentence_chance": Term(
        "Chance, of a sentence's importance",
        "Two samples of one distribution differ, too: importance is never 0 by chance, the less so the more answers "
        "there are and the fewer rollouts. Here before and after are dealt out anew within each seed, 10,000 times: "
        "chance is the mean importance then, and what it exceeds in 5 % of dealings is marked beside it. p is the "
        "share of dealings with as large an importance, the true one included; q is over the sentences of the thought "
        "(Benjamini and Hochberg 1995).",
        r"p = \frac{1 + \#\{\text{dealings as large}\}}{1 + 10\,000}",
    ),
    "sentence_interval": Term(
        "Interval, of a sentence's importance",
        "95 %, by bootstrap over the seeds. A resample's importance is too large by as much again as the measured one; "
        "the percentiles 2.5 and 97.5 are moved down by what resamples exceed it on average, to 0 at most. It says how "
        "far the figure would vary with other seeds; whether it is more than chance, q says.",
    ),
    "counterfactual_importance": Term(
        "Counterfactual importance",
        "As importance, but against those rollouts from before only whose own first sentence is another one, compared "
        "as exact text but for case and white space. Where the model writes the same sentence anyhow, importance is "
        "small although the sentence may carry the answer. The paper asks for another meaning, which is not compared "
        "here: a paraphrase counts as another sentence.",
    ),
    "passing_feature": Term(
        "Passes the feature",
        "The importance less the importance with a feature held at a value, in the rollouts and in the thought before "
        "them as it is read again: what of the sentence's effect passes that feature. Both over the answers seen at "
        "any of the four places. p, two-sided, deals out held and not held within each seed.",
        r"\mathrm{KL} - \mathrm{KL}_{\text{held}}",
    ),
}
