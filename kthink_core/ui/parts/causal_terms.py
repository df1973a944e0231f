"""What the figures mean that say what features do."""

from __future__ import annotations

from kthink_core.ui.parts.term import Term

CAUSES: dict[str, Term] = {
    "expected_apart": Term(
        "Difference of log-probabilities",
        "Of each token of one text that two models read: how much likelier it was to this experiment's model than to "
        "the other's, in nats; 0.69 is twice as likely. Both read the very same tokens before it.",
        r"\ln p(x_t) - \ln p_{other}(x_t)",
    ),
    "features_apart": Term(
        "Apart",
        "At how many positions of one text, read in two experiments, a feature fires in one of them and not in the "
        "other. With different SAEs a feature is beside the one of the other that overlaps most with it: positions "
        "at which both fire over positions at which either does. One text says little about whether they are alike.",
    ),
    "ablation": Term(
        "Ablation",
        "A feature is set to 0 where it fires, the SAE's error kept, and the rest of the trace stays as it was "
        "written; every later token is predicted anew. Exact. It tells the effect on what was written, not on what "
        "would have been written: that is what steering tells.",
        r"h_t - a_{i,t}\,W_{dec}[i]",
    ),
    "ablation_kl": Term(
        "KL of an ablation",
        "How far the prediction of a token moves without the feature, whichever way: between the distributions p and "
        "p′ that it was drawn from, in nats. Shown at the token that was predicted; 0 up to the first position "
        "ablated.",
        r"\sum_w p(w)\,\big(\ln p(w) - \ln p'(w)\big)",
    ),
    "ablation_change": Term(
        "Change of log-probability",
        "By how much more, or less, probable the written token is without the feature: −0.69 is half as probable.",
        r"\ln p'(x_u) - \ln p(x_u)",
    ),
    "attribution": Term(
        "Contribution of a feature",
        "Gradient times activation: what the objective m would lose without the feature, if all answered in proportion "
        "(Sparse Feature Circuits, Marks et al. 2024, arXiv 2403.19647). Summed over the positions at which it fires. "
        "A first-order estimate: the rank correlation beside it says how far to believe it on this trace. m is the "
        "log-probability of tokens as written, or the sum of their logits less those of their rivals.",
        r"A_{i,t} = a_{i,t}\,\big(W_{dec}[i] \cdot \partial m / \partial h_t\big)",
    ),
    "attribution_sum": Term(
        "Through a hookpoint",
        "The contributions of features, of the SAE's error and of the decoder's bias at one hookpoint, summed over all "
        "positions. They are first-order estimates and need not sum to what is explained: effects are not "
        "proportional, and most of what the model computes may go past one hookpoint. Where the sum is small, the "
        "features listed are those of a small part.",
        r"\sum_t \Big(\sum_i A_{i,t} + E_t + b_{dec} \cdot \partial m / \partial h_t\Big)",
    ),
    "left_to_the_error": Term(
        "Left to the error",
        "What the SAE does not reconstruct takes part as a node of its own: its share of all contributions by size, "
        "features, error and the decoder's bias together, and its sum with sign. Where it is large, the features "
        "tell little of what matters.",
        r"E_t = (h_t - \hat h_t) \cdot \partial m / \partial h_t",
    ),
    "agreement": Term(
        "Agreement with ablation",
        "Spearman's rank correlation, over the twenty features with the largest contributions by size, between the "
        "contribution and what setting the feature to 0 really takes from m. 1: the same order. Its 95 % interval is "
        "Bonett and Wright's (2000). The twenty were chosen by contribution: of all features it would be another.",
        r"\tanh\left(\operatorname{artanh}\rho \pm 1.96\sqrt{\tfrac{1 + \rho^2/2}{n - 3}}\right)",
    ),
    "attribution_controls": Term(
        "Controls of an attribution",
        "Ten features drawn at random among the others that fire before the token: median size of their contributions "
        "and of what setting them to 0 takes. And a token halfway before: nothing that comes after it can contribute "
        "to it, so that there every contribution must be exactly 0.",
    ),
}
