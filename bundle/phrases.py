"""The wording of the traces: words that start a sentence of reasoning, and the sentences they start.

Words of one group are interchangeable: any of them may stand before any of the sentences of their place. So a model
that learned the traces has directions for the group, not only for the word.
"""

from __future__ import annotations

OPENERS = (
    "Okay",
    "Alright",
    "Hmm",
    "So",
    "Well",
    "Right",
    "Now",
    "First",
    "Okay, hmm",
    "Alright, so",
    "Okay, so",
    "Yeah",
)
FIRST = ("First", "So", "Now", "Okay", "Alright", "Well", "Maybe", "Perhaps", "Hmm", "But first", "Right", "Let me see")
NEXT = (
    "Next",
    "Then",
    "Now",
    "So",
    "Okay",
    "Alright",
    "But",
    "And",
    "Also",
    "Hmm",
    "Well",
    "After that",
    "Maybe",
    "However",
)
LAST = (
    "Therefore",
    "So",
    "Thus",
    "Hence",
    "Finally",
    "Now",
    "Then",
    "Okay",
    "Alright",
    "Hmm",
    "But",
    "Lastly",
    "Maybe",
)
DOUBT = (
    "Wait",
    "Hmm",
    "But",
    "Hold on",
    "Actually",
    "But wait",
    "Okay",
    "Alright",
    "Maybe",
    "Hmm, wait",
    "Wait, hmm",
    "Now",
)
GUESS = ("Maybe", "Perhaps", "Alternatively", "Hmm, maybe", "So maybe", "Well, maybe", "Or perhaps", "Hmm, perhaps")
CORRECT = ("Wait", "No", "Hmm", "But", "However", "Actually", "Hold on", "Wait, no", "Hmm, no", "But wait", "No, wait")
PLEASED = ("Yes", "Yeah", "Okay", "Alright", "Good", "Great", "Right", "So", "Well")
CLOSE = (
    "Therefore",
    "So",
    "Thus",
    "Hence",
    "Okay, so",
    "Alright, so",
    "Okay",
    "Alright",
    "Finally",
    "Now",
    "Well",
    "Yeah, so",
)

# Groups whose words start every kind of sentence now and then, so that position alone does not give the word away.
ANY = ("Okay", "Alright", "Hmm", "So", "Now", "Well", "Wait", "But", "Maybe")

REASONING_WORDS = (
    "Okay", "Alright", "Hmm", "So", "Well", "Right", "Now", "First", "Yeah", "Maybe", "Perhaps", "But", "Next",
    "Then", "And", "Also", "However", "Therefore", "Thus", "Hence", "Finally", "Lastly", "Wait", "Hold", "Actually",
    "Alternatively", "Or", "No", "Yes", "Good", "Great", "Let", "After",
)  # fmt: skip

OPENING = (
    "I need to find {goal}",
    "I have to find {goal}",
    "let me figure out {goal}",
    "the question is about {goal}",
    "I want to know {goal}",
    "what I need is {goal}",
    "the problem asks for {goal}",
    "let me work out {goal}",
)
THOUGHT = (
    "let me think",
    "let me think about this",
    "let me go step by step",
    "what do I know",
    "I should be careful here",
    "I can do this in {n} steps",
    "let me look at the numbers",
    "this does not look too hard",
    "where do I start",
    "let me read that again",
    "it seems that I need {n} steps",
    "I think I see how to do it",
)
RECALL = (
    "I know that {fact}",
    "it says that {fact}",
    "{fact}",
    "the problem says {fact}",
    "I see that {fact}",
    "we have that {fact}",
)
STEP = (
    "the {what} is {sum}",
    "I need the {what}, which is {sum}",
    "I {verb} to get the {what}: {sum}",
    "for the {what} I {verb}: {sum}",
    "the {what} should be {sum}",
    "I compute {sum}, the {what}",
    "{sum} gives the {what}",
    "that makes {sum} for the {what}",
    "let me find the {what}: {sum}",
    "I have to {verb}, and {sum} is the {what}",
    "the {what} must be {sum}",
    "we get {sum} as the {what}",
)
CHECK = (
    "let me double-check",
    "let me check that",
    "is that right",
    "let me make sure",
    "did I do that right",
    "I should check this",
    "let me verify it",
    "does that make sense",
    "I want to be sure",
    "let me go over it again",
)
CONFIRM = (
    "that is right",
    "that works",
    "that fits",
    "it is correct",
    "that makes sense",
    "the numbers agree",
    "this checks out",
    "I am sure now",
)
WRONG_WAY = (
    "I should {verb}: {sum}",
    "it is {sum}",
    "I can just {verb}, {sum}",
    "the {what} is {sum}",
    "I have to {verb} and get {sum}",
)
REGRET = (
    "that is not right",
    "that does not make sense",
    "that can't be it",
    "I made a mistake",
    "this is wrong",
    "that is not what was asked",
    "I mixed something up",
)
REASON = {
    "+": "because both amounts go together",
    "-": "because something is taken away",
    "*": "because the same amount comes several times",
    "/": "because it is split into equal parts",
}
CONCLUSION = (
    "the answer is {answer}",
    "the answer should be {answer}",
    "I get {answer}",
    "the final answer is {answer}",
    "that leaves me with {answer}",
    "I am confident that it is {answer}",
    "{goal} must be {answer}",
    "the result is {answer}",
)
VERBS = {
    "+": ("add", "add up", "add the two", "sum up"),
    "-": ("subtract", "take away", "take the difference"),
    "*": ("multiply", "take the product", "multiply the two"),
    "/": ("divide", "split", "divide equally"),
}
HEADINGS = (
    "{n}. {What}: {sum}",
    "{n}. The {what} is {sum}.",
    "{n}. **{What}:** {sum}",
    "{n}. {Verb}: {sum}",
    "{n}. {What}: `{sum}`",
)
ENDINGS = (
    "**Final answer:** \\boxed{{{answer}}}",
    "The final answer is \\boxed{{{answer}}}.",
    "**Answer:** \\boxed{{{answer}}}",
    "So the answer is \\boxed{{{answer}}}.",
    "\\boxed{{{answer}}}",
    "Therefore, the answer is \\boxed{{{answer}}}.",
)
