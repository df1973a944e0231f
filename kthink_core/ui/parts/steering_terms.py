"""What the figures of steering mean."""

from __future__ import annotations

from kthink_core.ui.parts.term import Term

STEERING: dict[str, Term] = {
    "steering": Term(
        "Steering",
        "The vector h that passes a hookpoint is changed along the decoder rows of some features while the model "
        "writes, and the model goes on from there. a = encode(h). What the SAE does not describe of h stays as it is. "
        "The tokens of the prompt are left alone.",
        r"h' = h + \sum_i c_i\, W_{dec}[i]",
    ),
    "clamp": Term(
        "Clamp",
        "The feature's activation becomes v, whatever it was: where it would be larger it is lowered.",
        r"h' = h + (v - a_i)\, W_{dec}[i]",
    ),
    "add": Term(
        "Add",
        "So much of the feature's decoder row is added at every position, however active it is by itself. A negative "
        "strength takes it away.",
        r"h' = h + v\, W_{dec}[i]",
    ),
    "ablate": Term(
        "Ablate",
        "The feature is clamped to 0: what it would say is taken out. Where it is silent nothing changes, bit for bit.",
        r"h' = h - a_i\, W_{dec}[i]",
    ),
    "strength": Term(
        "Strength",
        "v, in units of activation, or as so many times the feature's largest activation over the generated positions "
        "of the experiment (ReasonScore's way, Galichin et al. 2025). A feature that never fires has none to scale by. "
        "Beyond a few times the maximum, text falls apart whatever the feature is.",
        r"v = s \cdot \max_{p} a_i(p)",
    ),
    "start": Term(
        "From token",
        "The first generated token whose vector is changed, counted from 0. The token of number n is chosen before its "
        "own vector passes: what is changed there shows from token n + 1 on.",
    ),
    "trigger": Term(
        "After a firing",
        "The intervention begins at the position after the first one, from its start on, at which another feature "
        "fires; until then, and where that never happens, nothing is changed.",
    ),
    "receipt": Term(
        "Receipt",
        "What an intervention did, measured while the model wrote: from which generated token on, at how many "
        "positions, by how much the vector changed, the feature's activation before, and after: of the changed vector "
        "when it is encoded again. That is the activation asked for only as far as encoder and decoder agree; a third "
        "to four fifths of it are usual for the bundled SAEs.",
    ),
    "relative_change": Term(
        "Relative change",
        "The length of what was added to the hookpoint's vector, by all interventions there, over that of the vector.",
        r"\lVert \Delta h \rVert \,/\, \lVert h \rVert",
    ),
    "steering_checks": Term(
        "Checks",
        "What was tried on the run, each against a limit. Clamped to the activation that it has, a feature changes the "
        "vector by rounding only. Ablating a feature that does not fire changes nothing. One pass over the whole text, "
        "steered alike, gives the log-probabilities that the run had token by token; the largest difference, in nats. "
        "In a store they are called `as it is`, `silent` and `cached`. A run in which a hook was left out fails.",
    ),
    "streams_apart": Term(
        "What differs between two streams",
        "Both have the same prompt, seed and settings, so that up to the first token that differs they are one text. "
        "From there on they are two samples: much of what differs further on would with another seed, too. One pair "
        "shows what can happen, not how often.",
    ),
}
