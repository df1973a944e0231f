"""What the figures of token injection mean: title, words, formula of each, as `terms` has them."""

from __future__ import annotations

INJECTION: dict[str, tuple[str, str, str]] = {
    "injection_verdict": (
        "More than its words?",
        "The test by token injection (arXiv 2601.05679): the feature's own tokens are put into 100 texts without "
        "reasoning, and its maximum over each is compared with that of the text as it was. Ways are chosen on 16 other "
        "texts; the better of at most two counts. **token-driven**: d ≥ 0.8 and p < 0.01; **partly**: d ≥ 0.5 and "
        "p < 0.01; **weakly**: d ≥ 0.2 and p < 0.05; else **context-dependent**. p is the larger of the t-test's and "
        "of the best's. **silent**: it never fires, **untested**: on no token three times. Context-dependent is no "
        "proof of reasoning: it says that these tokens alone do not explain the feature.",
        "",
    ),
    "cohens_d": (
        "Cohen's d",
        "By how many standard deviations a feature's maximum over a text with its tokens exceeds that without them, "
        "over 100 texts, with p of Student's two-sample t-test. ± 99 stands for a difference without any spread.",
        r"d = \frac{\bar x_{injected} - \bar x_{baseline}}"
        r"{\sqrt{(s^2_{injected} + s^2_{baseline})\,/\,2}}",
    ),
    "p_of_best": (
        "p of the best",
        "How often chance gives a d as large as the best of the measured ways: text by text, with and without tokens "
        "change places or not, at random, 999 times; each time the largest d counts.",
        r"\frac{1 + \#\{\max_s d_s^{\pi} \ge \max_s d_s\}}{1 + 999}",
    ),
    "injection_controls": (
        "Controls",
        "Of ten features of the hookpoint, drawn at random among those that fire at three positions or more: how many "
        "have the same verdict. Where most have, the verdict says little about this one.",
        "",
    ),
}
