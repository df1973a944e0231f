"""The transcript: one inference, token by token, and where its features fire.

`payload` packs tables that `queries` answered → `draw` mounts the component → the browser does the rest without asking
back: hovering, locking, several features, the ruler, the keyboard. Only what belongs in the link comes back to Python,
as a `Selection`: a span of tokens, the features shown, the locked one, what they are shaded by, what it is cut into, a
feature to open.

In the browser, one concept a file, in this order: text.js how a token is written · tracks.js which feature fires
where · tokens.js the tokens as elements · shading.js their colours · strip.js the whole trace at a glance ·
alternatives.js what else was likely · measures.js surprise and entropy, lit as a feature is · tooltip.js · features.js
the list beside the tokens · toolbar.js · span.js · touch.js · steps.js what the transcript is cut into · outline.js the
list of the steps · find.js · keys.js · main.js, which ties all together. They become one module, after parts/roving.js;
types.d.ts says what passes between them, for the check of types.
"""

from kthink_core.ui.parts.packing import ALONE, payload
from kthink_core.ui.transcript.drawing import Selection, draw

__all__ = ["ALONE", "Selection", "draw", "payload"]
