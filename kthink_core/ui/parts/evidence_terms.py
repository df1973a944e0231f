"""What the figures mean that say how far to believe the others."""

from __future__ import annotations

from kthink_core.ui.parts.term import Term

EVIDENCE: dict[str, Term] = {
    "difference": Term(
        "Difference over all positions",
        "Share of side a's positions at which a feature fires, less that of side b's: over all positions of the sides, "
        "whatever the lengths of their inferences.",
        r"d = \mathrm{rate}_a - \mathrm{rate}_b",
    ),
    "difference_table": Term(
        "What differs between two sides",
        "Features by the size of the difference between the shares of positions at which they fire. Of two inferences "
        "or spans sentences are the cases, since positions of one sentence are not independent: the interval is of so "
        "many positions as would vary as much if each were of a sentence of its own (Korn and Graubard 1998; Newcombe "
        "1998), p and q are of sentences dealt out anew between the sides, among those of about one length. They tell "
        "nothing of other inferences. Of two experiments problems are resampled, and labels dealt out anew within "
        "each problem.",
        r"d = \frac{f_a}{n_a} - \frac{f_b}{n_b}",
    ),
    "bootstrap_interval": Term(
        "From, to",
        "The 95 % interval of a difference: its percentiles 2.5 and 97.5 over 1,000 resamples of the problems, each "
        "with all its inferences (Efron 1979). Words of one trace are no independent cases, nor are several answers to "
        "one problem; resampled, they would make it far too narrow. It is of one feature looked at alone: of "
        "thousands, q says which to believe.",
    ),
    "matched": Term(
        "Difference of a contrast, matched",
        "The difference among inferences that are alike: both parts of one inference; inferences of one problem; else, "
        "of right and wrong ones, six to eleven of neighbouring lengths, since wrong ones are longer and what fires "
        "late, or once a trace, would differ for that alone. Where lengths differ by nature it is of equally "
        "many positions of those compared: the first ones; of thinking and answer, a stretch of the longer. Groups s "
        "weigh by positions (Mantel and Haenszel 1959). "
        "Where it is far from the difference over all positions, lengths or problems made that one. p and q are of "
        "this one.",
        r"\frac{\sum_s w_s\, d_s}{\sum_s w_s},\quad w_s = \frac{N_{a,s}\, N_{b,s}}{N_{a,s} + N_{b,s}}",
    ),
    "test_based_limits": Term(
        "At least, at most, of a contrast",
        "The 95 % limits of the matched difference that belong to its test (Miettinen 1976): 1.96 times σ to either "
        "side, its standard deviation over all ways to deal out the labels. Of one feature looked at alone, as p is.",
        r"d \pm 1.96\,\sigma,\quad z = d / \sigma",
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
    "injection_verdict": Term(
        "More than its words?",
        "The test by token injection (arXiv 2601.05679): the feature's own tokens are put into 100 texts without "
        "reasoning, and its maximum over each is compared with that of the text as it was. Ways are chosen on 16 other "
        "texts; the better of at most two counts. **token-driven**: d ≥ 0.8 and p < 0.01; **partly**: d ≥ 0.5 and "
        "p < 0.01; **weakly**: d ≥ 0.2 and p < 0.05; else **context-dependent**. p is the larger of the t-test's and "
        "of the best's. **silent**: it never fires, **untested**: on no token three times. Context-dependent is no "
        "proof of reasoning: it says that these tokens alone do not explain the feature.",
    ),
    "cohens_d": Term(
        "Cohen's d",
        "By how many standard deviations a feature's maximum over a text with its tokens exceeds that without them, "
        "over 100 texts, with p of Student's two-sample t-test. ± 99 stands for a difference without any spread.",
        r"d = \frac{\bar x_{injected} - \bar x_{baseline}}"
        r"{\sqrt{(s^2_{injected} + s^2_{baseline})\,/\,2}}",
    ),
    "d_interval": Term(
        "95 % of Cohen's d",
        "Where d lies with 95 % confidence (Hedges and Olkin 1985). It takes the texts with and without tokens as "
        "independent and does not know that the better of two ways may have been chosen.",
        r"d \mp 1.96\,s,\quad s^2 = \frac{2}{n} + \frac{d^2}{4n}",
    ),
    "fires_in": Term(
        "Fires in",
        "Share of texts in which the feature fires at all: of the 116 texts without reasoning as they are, then of the "
        "100 that its tokens were put into, by the way that counts.",
    ),
    "p_of_best": Term(
        "p of the best",
        "How often chance gives a d as large as the best of the measured ways: text by text, with and without tokens "
        "change places or not, at random, 999 times; each time the largest d counts.",
        r"\frac{1 + \#\{\max_s d_s^{\pi} \ge \max_s d_s\}}{1 + 999}",
    ),
    "injection_controls": Term(
        "Controls",
        "Of ten features of the hookpoint, drawn at random among those that fire at three positions or more: how many "
        "have the same verdict. Where most have, the verdict says little about this one.",
    ),
    "pattern": Term(
        "Pattern of a label",
        "What a label claims of the text at which the feature fires: words with commas between them (**wait, hmm**), "
        "each found as a whole word in whatever case, or a regular expression between slashes (**/[Ww]ait|Hmm/**, with "
        "an **i** behind it in whatever case), in RE2's syntax. Where it has a group, that is what it names: "
        "**/\\n(So)/** is a “So” that begins a line.",
    ),
    "label_test": Term(
        "Label test",
        "How well the pattern of a label says where the feature fires, on the inferences of problems with odd numbers: "
        "look at the even ones when you write it. **Precision**: of the positions that the pattern marks, the part at "
        "which the "
        "feature fires. **Recall**: of those at which it fires, the part that is marked. **AUROC**: the mark as a yes "
        "or no, firing positions weighed equally by tenths of the feature's range, silent ones half by near misses "
        "(the feature fires on the same token elsewhere), half by others; ½ is chance. Its interval of 95 % is by "
        "bootstrap over problems. After the detection test of Paulo et al. 2024, arXiv 2410.13928, over all "
        "positions.",
        r"\mathrm{AUROC} = \tfrac{1}{2}\big(\mathrm{TPR} + 1 - \mathrm{FPR}\big)",
    ),
    "overlap": Term(
        "Overlap",
        "Of the positions in scope at which either of two features fires, the part at which both do (Jaccard 1912).",
        r"\frac{\#\{p : a_i(p) > 0 \wedge a_j(p) > 0\}}{\#\{p : a_i(p) > 0 \vee a_j(p) > 0\}}",
    ),
    "family": Term(
        "Family",
        "Features that say the same: they share at least five positions and overlap by half or more, or their decoder "
        "rows have a cosine of 0.7 or more. Each is like the family's first, the one that is relevant in most "
        "inferences: no chain of small likenesses makes a family.",
    ),
}
