"""What the figures mean that tell a word from a phase."""

from __future__ import annotations

from kthink_core.ui.parts.term import Term

PHASES: dict[str, Term] = {
    "think_or_word": Term(
        "Think or word?",
        "A feature that fires in thoughts and hardly after them may follow the phase, or words that stand in thoughts. "
        "So the difference of its shares is taken apart by tokens (Kitagawa 1955). **Its words**: other tokens stand "
        "there. **The phase**: on the same token it fires otherwise. Both of the tokens on which it fires and that "
        "stand five times or more on both sides (250 at most); what **other tokens** contribute belongs to "
        "neither, since nobody has seen what it does on them on the other side. n: how often a token w stands "
        "there, f: how often it fires on it, N: all positions, p = n/N, r = f/n; with a stroke after the thought.",
        r"\begin{aligned}d = &\sum_w \tfrac{(p_w - p'_w)(r_w + r'_w)}{2} \\ "
        r"&+ \sum_w \tfrac{(r_w - r'_w)(p_w + p'_w)}{2} + \text{other tokens}\end{aligned}",
    ),
    "phase_interval": Term(
        "From, to: think or word",
        "The 95 % interval of a difference and of its parts by bootstrap over problems. What fires never, or always, "
        "does so in every resample, even if it stands there five times only; so the intervals of its words and of the "
        "phase are at least as wide as those of the tokens' shares make them (Zou and Donner 2008).",
    ),
    "token_interval": Term(
        "Interval of a token's share",
        "Of the times that the token stands on this side, the part at which the feature fires, and its 95 % interval "
        "(Wilson 1927), of so many times as would vary as much if each were in a problem of its own (Korn and Graubard "
        "1998). Where it always or never fires, each problem counts once.",
    ),
    "points": Term(
        "Points of a token",
        "What the token contributes to the difference of the shares, thought less answer; over all tokens, these add "
        "up to it.",
        r"\frac{f_w}{N} - \frac{f'_w}{N'}",
    ),
}
