"""What the figures of the SAE's passport and of the audit mean."""

from __future__ import annotations

from kthink_core.ui.parts.term import Term

QUALITY: dict[str, Term] = {
    "fvu": Term(
        "FVU",
        "Fraction of variance unexplained over the positions in scope, x the captured vector, x̂ what the SAE makes of "
        "it, x̄ the mean of x. 0 is perfect; above 1 is worse than always saying the mean.",
        r"\mathrm{FVU} = \frac{\sum_p \lVert x_p - \hat x_p \rVert^2}{\sum_p \lVert x_p - \bar x \rVert^2}",
    ),
    "l0": Term(
        "L0",
        "Mean number of features that fire at a position in scope. At most the SAE's k, where it has one.",
        r"\frac{\sum_p \#\{i : a_i(p) > 0\}}{\#\{p\}}",
    ),
    "cut": Term(
        "Cut positions",
        "Of an SAE without a fixed k: positions in scope with as many features as are kept at one at most, the "
        "strongest (`precompute --most-active`). Others may have fired there; what they would add counts as "
        "unexplained. Mostly the first position, which few SAEs were trained on.",
    ),
    "dead": Term(
        "Dead share",
        "Share of the hookpoint's features that fire at no position in scope, over all inferences. Few inferences "
        "leave many features silent that are alive.",
        r"\frac{\#\{i : a_i(p) = 0 \text{ for all } p\}}{\#\{i\}}",
    ),
    "loss_recovered": Term(
        "Loss recovered",
        "How much of what a module gives the model its SAE keeps. CE is the mean cross-entropy of the tokens in scope: "
        "CE_model of the model as it is; CE_sae where at every position the reconstruction x̂ takes the place of the "
        "captured vector x; CE_zero where 0 does. 1: the model does as well as before; 0: no better than without the "
        "module. Missing where the model does not miss the module. A prediction counts where its token does. "
        "(Rajamanoharan et al. 2024, arXiv 2404.16014)",
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
    "training_loss": Term(
        "Loss of a training",
        "What each step makes smaller: the FVU of the batch and, where `--auxk-alpha` is above 0, that many times the "
        "FVU of what the dead features make of the error (AuxK; Gao et al. 2024, arXiv 2406.04093). Mean over the "
        "steps since the last point.",
    ),
    "training_fvu": Term(
        "FVU of a batch",
        "Fraction of variance unexplained over the positions of one step, before the step learns from them; mean over "
        "the steps since the last point. The batch is small: the FVU on texts that were held out is the better figure.",
    ),
    "training_dead": Term(
        "Dead features of a training",
        "Share of a hookpoint's features that have not fired for 100,000 positions of the training, or not at all "
        "while there were fewer.",
    ),
    "held_out": Term(
        "Held out",
        "A twentieth of the tokens (at least one text, at most about 200,000 tokens) is not trained on: whole texts, "
        "and all texts of one question together. FVU, L0 and dead features are measured on all of it, loss recovered "
        "on the first 20,000 positions. No text is taken twice.",
    ),
}
