"""What the figures of a sweep mean."""

from __future__ import annotations

from kthink_core.ui.parts.term import Term

SWEEPS: dict[str, Term] = {
    "strength": Term(
        "Strength",
        "In units of the feature's largest activation over what the model wrote in the experiment. **clamp** sets the "
        "feature's activation to that value at every generated position, **add** adds so much of its decoder row to "
        "what is there, **ablate** sets the activation to 0. The SAE's error stays as it is.",
        r"v = s \cdot \max_{\text{experiment}} a_i",
    ),
    "sweep_baseline": Term(
        "Baseline of a sweep",
        "The same problems at the same seeds, with nothing steered. Every strength is compared with it run by run: "
        "what differs is what steering did, and how sampling goes on from there.",
    ),
    "repetition": Term(
        "Repetition",
        "Share of the groups of four tokens in a row that stood in the same run before. A trace that repeats numbers "
        "and sentences has some; one that goes round in circles has nearly nothing else.",
        r"1 - \frac{\#\{\text{different groups}\}}{\#\{\text{groups}\}}",
    ),
    "closed": Term(
        "Closes its thought",
        "Share of the runs in which `</think>` stands. One that does not come to it before the token limit has no "
        "answer, and counts as wrong.",
    ),
    "sweep_interval": Term(
        "Interval of a sweep's figure",
        "95 %. Of right answers and closed thoughts, shares of runs: Wilson's (1927), and of the difference to the "
        "baseline Newcombe's of paired shares (1998, method 10); runs of one problem are no independent cases, so that "
        "they count as many as would vary as much alone, and each problem once where all runs turn out the same. Of "
        "length and repetition: percentiles 2.5 and 97.5 over 1,000 resamples of the problems, each with all its runs "
        "(Efron 1979); with fewer than twenty problems too narrow, and without width where all runs are the same, "
        "which does not mean that it is sure.",
    ),
    "sweep_p": Term(
        "p and q of a sweep",
        "p: how often a difference to the baseline as large comes up where each problem, with all its runs, changes "
        "sides or not by the toss of a coin: all ways up to twelve problems, else 9,999 drawn ones. q: of the "
        "differences called so at this q or a smaller one, about so large a share is none, over all figures, features "
        "and strengths of the sweep (Benjamini and Hochberg 1995).",
    ),
    "mcnemar": Term(
        "Lost, won, and McNemar's p",
        "Lost: problems solved by the baseline alone; won: by the steered runs alone. Were steering without effect, "
        "either would be as likely: p is the chance of a split as uneven (McNemar 1947, exact). Of several samples of "
        "a problem more than half must be right. With fewer than six such problems no p is below 0.05. The interval of "
        "the difference, in the download, is Newcombe's of paired shares (1998, method 10).",
        r"p = \min\Big(1,\; 2 \sum_{i \le \min(b, c)} \binom{b+c}{i}\, 2^{-(b+c)}\Big)",
    ),
    "holm": Term(
        "p, Holm",
        "McNemar's p corrected for all rows of the table: below 0.05 in none of them, in 95 of 100 such tables, where "
        "steering does nothing at all (Holm 1979).",
        r"\tilde p_{(i)} = \max_{j \le i} \min\big(1,\; (m - j + 1)\, p_{(j)}\big)",
    ),
}
