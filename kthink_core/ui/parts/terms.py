"""Every statistic that is of this project's own making, or that has more than one meaning elsewhere: defined once."""

from __future__ import annotations

from typing import NamedTuple

from kthink_core.errors import UnknownName
from kthink_core.ui.parts import injection_terms


class Term(NamedTuple):
    """What a figure on a screen means."""

    title: str
    words: str
    """Markdown, a sentence or two."""
    formula: str = ""
    """LaTeX; empty where words say it all."""


TERMS: dict[str, Term] = {
    "activation": Term(
        "Activation",
        "How strongly a feature fires at a position: one of the k values that the SAE keeps there, if it is positive. "
        "x is the captured vector, k the SAE's own number. A zero is not an activation.",
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
        r"\text{the 10 features with the largest } \max_{p \,\in\, \text{scope}} a_i(p)",
    ),
    "relevant_in": Term(
        "Relevant in n of m inferences",
        "In how many inferences a feature is among the relevant features. Ties go to the smaller feature id.",
        r"\#\{\text{inferences} : i \text{ is among its relevant features}\}",
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
    "lift_interval": Term(
        "At least, at most",
        "The ends of a 95 % interval of a span's lift L (Katz et al. 1978, with half a position added to each count): "
        "wide where few positions say so. It takes positions for independent, which words of a text are not, and does "
        "not know how many features were looked at: a guide to the eye, not a test.",
        r"L\,e^{\mp 1.96\,s},\quad "
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
    "difference": Term(
        "Difference of a contrast",
        "Share of side a's positions at which a feature fires, less that of side b's: over all positions of the sides, "
        "whatever the lengths of their inferences.",
        r"d = \mathrm{rate}_a - \mathrm{rate}_b",
    ),
    "bootstrap_interval": Term(
        "From, to",
        "The 95 % interval of a difference: its percentiles 2.5 and 97.5 over 1,000 resamples of the inferences, each "
        "with all its positions (Efron 1979). Words of one trace are no independent cases; resampled, they would make "
        "it far too narrow. It is of one feature looked at alone: of thousands, q says which to believe.",
    ),
    "matched": Term(
        "Matched difference",
        "The difference among inferences that are alike: both parts of one inference; inferences of one problem; else, "
        "of right and wrong ones, six to eleven of neighbouring lengths, since wrong ones are longer and what fires "
        "late, or once a trace, would differ for that alone. Where lengths differ by nature it is of equally "
        "many positions of those compared: the first ones; of thinking and answer, a stretch of the longer. Groups s "
        "weigh by positions (Mantel and Haenszel 1959). "
        "Where it is far from the plain difference, lengths or problems made that one. p and q are of this one.",
        r"\frac{\sum_s w_s\, d_s}{\sum_s w_s},\quad w_s = \frac{N_{a,s}\, N_{b,s}}{N_{a,s} + N_{b,s}}",
    ),
    "p_value": Term(
        "p of a contrast",
        "How often the sides' labels, dealt out anew among inferences that are alike, give a matched difference as "
        "large, either way: of 1,000 such labelings and the true one, or of all where they are fewer. z is the matched "
        "difference in units of its standard deviation over all labelings. p is of one feature alone: of 1,000 "
        "features in which nothing differs, 50 have p < 0.05.",
        r"p = \frac{\#\{\text{labelings } l : |z_l| \ge |z|\}}{\#\{l\}}",
    ),
    "q_value": Term(
        "q of a contrast",
        "Of the features called different at this q or a smaller one, about so many are not: the false discovery rate "
        "(Benjamini and Hochberg 1995), counted on shuffled labels over all features of the hookpoint that fire, V of "
        "which reach |z| = t (Storey and Tibshirani 2003). Nor is q below the share of shuffled labelings whose own "
        "smallest q is as small (Westfall and Young 1993): shuffled labels seem to find something in 5 % of cases at "
        "most. Both counts are at the upper end of what 1,000 labelings leave open.",
        r"q = \min_{t \le |z|} \frac{\overline{V_l(t)}}{V(t)}",
    ),
    "needed": Term(
        "How many inferences it would take",
        "So many inferences, on both sides together and in the proportions of the n there are, would show the matched "
        "difference with four chances of five, if it is as large as it seems and varies as it does. t is what the "
        "largest |z| of any feature exceeds in 5 % of shuffled labelings. The largest of many differences seems larger "
        "than it is: rather more are needed.",
        r"n \left(\frac{t + 0.84}{|z|}\right)^2",
    ),
    "verdict": Term(
        "Verdict",
        "How an inference came out, exactly one of four. **cut off**: it reached the limit of tokens, whatever it had "
        "written. Of those that ended by themselves, **right** or **wrong**: the final answer against the problem's "
        "reference; **ungraded**: there is no reference. Every count and contrast goes by it.",
    ),
    "fvu": Term(
        "FVU",
        "Fraction of variance unexplained over the positions in scope, x the captured vector, x̂ what the SAE makes of "
        "it, x̄ the mean of x. 0 is perfect; above 1 is worse than always saying the mean.",
        r"\mathrm{FVU} = \frac{\sum_p \lVert x_p - \hat x_p \rVert^2}{\sum_p \lVert x_p - \bar x \rVert^2}",
    ),
    "l0": Term(
        "L0",
        "Mean number of features that fire at a position in scope. At most the SAE's k.",
        r"\frac{\sum_p \#\{i : a_i(p) > 0\}}{\#\{p\}}",
    ),
    "dead": Term(
        "Dead share",
        "Share of the hookpoint's features that fire at no position in scope, over all inferences. Few inferences "
        "leave many features silent that are alive.",
        r"\frac{\#\{i : a_i(p) = 0 \text{ for all } p\}}{\#\{i\}}",
    ),
    "loss_recovered": Term(
        "Loss recovered",
        "How much of what a module gives the model its SAE keeps: CE is the mean cross-entropy of the tokens in scope, "
        "predicted with 0, with the reconstruction x̂ (CE_sae), or with nothing else in the place of the captured "
        "vector x, at every position. 1: the model does as well as before; 0: no better than without the module. "
        "Missing where the model does not miss the module. A prediction counts where its token does. (Rajamanoharan "
        "et al. 2024, arXiv 2404.16014)",
        r"\frac{CE_{zero} - CE_{sae}}{CE_{zero} - CE_{model}}",
    ),
    "loss_recovered_interval": Term(
        "At least, at most, of loss recovered",
        "A 95 % interval by bootstrap: the inferences are drawn anew, with repetition, a thousand times; tokens of one "
        "text are no independent cases. Missing for fewer than five inferences, and where one of the thousand does not "
        "miss the module.",
    ),
    "cross_entropy": Term(
        "Cross-entropy (CE)",
        "Mean of −log p of the tokens in scope, in nats, each predicted from all before it, as the text was written: "
        "by the model alone, with the reconstruction x̂, or with 0 in the place of x at every position. The first "
        "token of a text is predicted by nothing.",
        r"CE = -\frac{1}{n} \sum_{t \,\in\, \text{scope}} \log p(w_t \mid w_{<t})",
    ),
    "kl": Term(
        "KL divergence",
        "How far the distribution of the next token moves when the reconstruction x̂ takes the place of x at every "
        "position, mean over the predictions of tokens in scope, in nats: p of the untouched model, p̂ with x̂. 0: "
        "nothing changes, also for tokens that were not written.",
        r"\mathrm{KL}(p \,\Vert\, \hat p) = \sum_w p(w) \log \frac{p(w)}{\hat p(w)}",
    ),
    "norms": Term(
        "Norms",
        "Lengths ‖x‖ of the captured vectors over the positions in scope. A mean or a largest one far above the median "
        "tells of sinks, which weigh in FVU as the square of their length.",
        r"\lVert x \rVert = \sqrt{\textstyle\sum_d x_d^2}",
    ),
    "sink": Term(
        "Sink",
        "A position whose captured vector is more than ten times as long as the median one of its hookpoint, over all "
        "positions of all inferences: often the first token. Its activations dwarf all others. (attention sinks: Xiao "
        "et al. 2023, arXiv 2309.17453; massive activations: Sun et al. 2024, arXiv 2402.17762)",
        r"\lVert x_p \rVert > 10 \cdot \mathrm{median}_q \lVert x_q \rVert",
    ),
    "capture_site": Term(
        "Capture site",
        "Where the vectors that the SAE is fed are taken from. **hookpoint**: the output of the module that it is "
        "named after, which it was trained on; **residual**: the residual stream that enters the module's layer, as "
        "the article had it. `python -m kthink_core audit` finds the site that an SAE was trained at: the one with "
        "an FVU below 1 where every other leaves at least 1.5 times as much unexplained, sinks left out.",
    ),
    "bootstrap_range": Term(
        "95 % range by bootstrap",
        "Inferences are drawn again with replacement, as many as there are, 1,000 times; the range holds the middle "
        "95 % of what comes out. Positions of one inference are not independent and are never drawn by themselves. "
        "Fewer than five inferences: no range.",
    ),
    "activation_sizes": Term(
        "Sizes of activations",
        "All activations in scope by size, in bins of a tenth of a factor of ten, as shares of them all. The vectors "
        "of two sites have different lengths, and activations grow with them.",
        r"\left\lfloor 10 \log_{10} a_i(p) \right\rfloor",
    ),
    "site_overlap": Term(
        "Overlap of relevant features",
        "Of the features that are relevant in a trace at either of two capture sites, H and R, the part that is so at "
        "both: the Jaccard index.",
        r"\frac{|H \cap R|}{|H \cup R|}",
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
        "strongest, of those that are nearly the same the first. The highest come first, then samples of others from "
        "each quarter of the range of activations, not of their number: the fourth quarter holds those above three "
        "quarters of the maximum. The sample is drawn by a fixed order and is the same on every visit.",
        r"\text{quarter } j:\ \tfrac{j-1}{4}\,a_{max} < a \le \tfrac{j}{4}\,a_{max}",
    ),
    "reason_score": Term(
        "ReasonScore",
        "How much more of all activation near words of reasoning is this feature's than elsewhere, weighed down where"
        " it answers to few of the words (Galichin et al. 2025, arXiv 2503.18878). μ⁺ and μ⁻: mean activations near "
        "the words and elsewhere; H: entropy over the words; α: 0.7, unless another is chosen. It picks features **by"
        " words**: a feature that only detects *Wait* scores high, too. A candidate, not a finding.",
        r"\frac{\mu^+_i}{\sum_j \mu^+_j}\,H_i^{\alpha} - \frac{\mu^-_i}{\sum_j \mu^-_j}",
    ),
    "reason_means": Term(
        "μ⁺ and μ⁻ of a ReasonScore",
        "Mean activation over all positive positions in scope, and over all others; where the feature is silent "
        "counts as 0. Positive: within a match of a word, widened by the window, one position to the left and two to "
        "the right unless other numbers are chosen. Matches are sought in whole traces, prompts included. What begins"
        " or ends a sequence is on neither side.",
        r"\mu^+_i = \frac{1}{\#P} \sum_{p \in P} a_i(p),\quad \mu^-_i = \frac{1}{\#N} \sum_{p \in N} a_i(p)",
    ),
    "reason_entropy": Term(
        "H of a ReasonScore",
        "How evenly a feature answers to the words g of the vocabulary G: 0 for one word only, 1 for all alike. m_g "
        "is its mean activation over the positions near g, zeros included. All words count in |G|, those that occur "
        "nowhere, too; of one word alone H is 1.",
        r"H = -\frac{1}{\ln |G|} \sum_{g} p_g \ln p_g,\quad p_g = \frac{m_g}{\sum_{g'} m_{g'}}",
    ),
    "word_match": Term(
        "Match of a word",
        "A word stands for its spellings with and without a space before it, in small letters and with the first one "
        "large; in double quotes for itself as it is written; `#14190`, or `#1 #2`, for tokens by id. A match is a "
        "token whose text is a spelling, or several that together are one and stand somewhere in the experiment as a "
        "word of their own.",
    ),
    "score_interval": Term(
        "At least, at most: a ReasonScore",
        "Percentile interval of 95 %: the score anew for 1,000 draws of whole inferences, with replacement. Tokens of"
        " one trace are no independent cases. It does not make up for looking at the largest of thousands of scores: "
        "the first of the list are somewhat too large. Missing where fewer than five inferences have a word, and "
        "beyond the first hundred features.",
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
    "overlap": Term(
        "Overlap",
        "Of the positions in scope at which either of two features fires, the part at which both do (Jaccard 1912).",
        r"\frac{\#\{p : a_i(p) > 0 \wedge a_j(p) > 0\}}{\#\{p : a_i(p) > 0 \vee a_j(p) > 0\}}",
    ),
    "pattern": Term(
        "Pattern of a label",
        "What a label claims of the text at which the feature fires: words with commas between them (**wait, hmm**), "
        "each found as a whole word in whatever case, or a regular expression between slashes (**/[Ww]ait|Hmm/**, with "
        "an **i** behind it in whatever case). It can look around itself: **/(?<=\\n)So/** is a “So” that begins a "
        "line.",
    ),
    "label_test": Term(
        "Label test",
        "How well the pattern of a label says where the feature fires, on the inferences with odd numbers: look at the "
        "even ones when you write it. **Precision**: of the positions that the pattern marks, the part at which the "
        "feature fires. **Recall**: of those at which it fires, the part that is marked. **AUROC**: the mark as a yes "
        "or no, firing positions weighed equally by tenths of the feature's range, silent ones half by near misses "
        "(the feature fires on the same token elsewhere), half by others; ½ is chance. Its interval of 95 % is by "
        "bootstrap over inferences. After the detection test of Paulo et al. 2024, arXiv 2410.13928, over all "
        "positions.",
        r"\mathrm{AUROC} = \tfrac{1}{2}\big(\mathrm{TPR} + 1 - \mathrm{FPR}\big)",
    ),
    "family": Term(
        "Family",
        "Features that say the same: they share at least five positions and overlap by half or more, or their decoder "
        "rows have a cosine of 0.7 or more. Each is like the family's first, the one that is relevant in most "
        "inferences: no chain of small likenesses makes a family.",
    ),
    **{name: Term(*parts) for name, parts in injection_terms.INJECTION.items()},
}
"""By name, as `help` takes it and the page of the guide shows it."""


def help(term: str) -> str:
    """Markdown for a tooltip: the term's definition with its formula. Raises UnknownName."""
    if term not in TERMS:
        raise UnknownName("term", term, TERMS)
    _, words, formula = TERMS[term]
    return f"{words}\n\n$$\n{formula}\n$$" if formula else words
