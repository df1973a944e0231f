"""What the worker is asked to do, and what it answers while it does it: the words of its API.

Shared by worker and client; knows nothing of torch, HTTP or Streamlit.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from kthink_core.config import Site
from kthink_core.identity import Maker, source
from kthink_core.live.branch import Branch
from kthink_core.live.request import Author, ExperimentName, Hookpoint, Hookpoints, Reference, Request, Typed
from kthink_core.live.study_requests import AblationRequest, AttributionRequest, SentencesRequest, SweepRequest
from kthink_core.prompts import Mode, Segment
from kthink_core.records import FinishReason, Intervention, Receipt
from kthink_core.store.kept_memory import MOST_COMPARED, MOST_WATCHED, Comparison, Watched

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
MOST_STEERED = 16
"""Interventions of one generation."""


class _Answer(BaseModel):
    """What a later worker says beyond it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TypedPrompt(Request):
    """A prompt as somebody typed it, and how it becomes one for the model."""

    prompt: Typed
    mode: Mode = "think"
    instruction: bool = Field(default=True, description="append what the stored inferences have behind the question")
    special: bool = Field(default=False, description="let names of special tokens in the text be these tokens")


class TokenizeRequest(TypedPrompt):
    """How would it be sent?"""

    template: bool = Field(default=True, description="as a generation takes it; else the text as it is, as encode does")


class GenerateRequest(TypedPrompt):
    """Answer a prompt; stream tokens and latents."""

    branch: Branch | None = Field(
        default=None,
        description="go on from there; `prompt` then only says what it is about, `mode` and steering are the trace's",
    )

    hookpoints: Hookpoints = Field(default=(), description="empty: all that the worker has SAEs for")
    temperature: float = Field(default=0.6, ge=0, le=10, description="0: the most likely token")
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_new_tokens: int = Field(default=400, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    steering: tuple[Intervention, ...] = Field(default=(), max_length=MOST_STEERED, description="values as activations")
    at_residual: bool = Field(
        default=False, description="steer an MLP's SAE although the worker captures the residual stream"
    )


class EncodeRequest(Request):
    """Latents of a text as it is: no template, nothing generated."""

    text: Typed
    hookpoints: Hookpoints = ()
    special: bool = False


MOST_TESTED = 50
"""Features of one job of token injection."""


class InjectRequest(Request):
    """Are stored features more than their words? Tested with the worker's model and SAE, stored with the experiment."""

    experiment: ExperimentName
    hookpoint: Hookpoint
    features: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=1, max_length=MOST_TESTED)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def hookpoints(self) -> tuple[str, ...]:
        return (self.hookpoint,)


class Tokenized(_Answer):
    """A prompt as it is sent."""

    count: int
    """Tokens of the prompt; of more than `limit` only so many are shown."""
    token_ids: tuple[int, ...]
    texts: tuple[str, ...]
    typed: tuple[bool, ...]
    """Whether the token was typed; else it comes from the template."""
    limit: int
    """Most tokens that the worker takes of a prompt; or of a text to encode, which may fill the context."""


class Queued(_Answer):
    event: Literal["queued"] = "queued"
    job: str
    position: int
    """Jobs before this one, the running one included."""


class Started(_Answer):
    event: Literal["started"] = "started"
    job: str
    seed: int


class Latents(_Answer):
    """Active features of some positions at one hookpoint; a zero is not an activation and is left out."""

    features: tuple[tuple[int, ...], ...]
    """[positions][active]"""
    activations: tuple[tuple[float, ...], ...]
    """[positions][active]"""


class Others(_Answer):
    """What else the model might have written at some positions, of its own distribution (temperature 1, no filter)."""

    token_ids: tuple[tuple[int, ...], ...]
    """[positions][tokens] the likeliest, the likeliest first."""
    texts: tuple[tuple[str, ...], ...]
    """[positions][tokens]"""
    logprobs: tuple[tuple[float, ...], ...]
    """[positions][tokens] natural."""
    entropies: tuple[float, ...]
    """[positions] of the whole distribution, in nats."""


class Tokens(_Answer):
    """Positions that have passed through the model: first the whole prompt at once, then one by one, or a few together
    where they come faster than fifty a second."""

    event: Literal["tokens"] = "tokens"
    first: int
    """Position of the first of them, from 0 at the first prompt token."""
    token_ids: tuple[int, ...]
    texts: tuple[str, ...]
    segments: tuple[Segment, ...]
    logprobs: tuple[float | None, ...]
    """Natural, temperature 1, no filter; None in the prompt."""
    latents: dict[str, Latents]
    """By hookpoint."""
    others: Others | None = None
    """Of the last ones of these positions; None in the prompt, and of an older worker."""


class Progressed(_Answer):
    """How far a test or a study is."""

    event: Literal["progressed"] = "progressed"
    done: int
    of: int
    """Parts of alike size. Of token injection: features, those drawn to compare with among them."""


class Studied(_Answer):
    """What a study has found; its end follows."""

    event: Literal["studied"] = "studied"
    id: str | None = None
    """Under which it is stored with its experiment; None of a live run."""
    document: dict[str, Any] | None = None
    """As it is stored (store/studies.py), whichever kind it is of; None of one that is long: read it there."""


class Done(_Answer):
    event: Literal["done"] = "done"
    job: str
    finish_reason: FinishReason | None = None
    """None where nothing was generated."""
    answer: str | None = None
    seconds: float = 0.0
    receipts: tuple[Receipt, ...] = ()
    """What each intervention did, in this order:"""
    interventions: tuple[Intervention, ...] = ()
    """Those of the request, or of a branch those of its trace; an older worker tells none."""
    most: dict[str, int] = {}
    """By hookpoint whose SAE has no fixed k: as many features are kept of a position at most, the strongest."""


class Failed(_Answer):
    event: Literal["failed"] = "failed"
    job: str
    message: str
    """For the user: one sentence."""


class Cancelled(_Answer):
    event: Literal["cancelled"] = "cancelled"
    job: str


Event = Queued | Started | Tokens | Progressed | Studied | Done | Failed | Cancelled
ENDS = (Done, Failed, Cancelled)
"""After one of these nothing more comes."""

EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


AnyRequest = (
    GenerateRequest
    | EncodeRequest
    | InjectRequest
    | SweepRequest
    | AblationRequest
    | AttributionRequest
    | SentencesRequest
)
"""What becomes a job."""

Kind = Literal["generate", "encode", "inject", "sweep", "ablation", "attribution", "sentences"]
KINDS: dict[type[AnyRequest], Kind] = {
    GenerateRequest: "generate",
    EncodeRequest: "encode",
    InjectRequest: "inject",
    SweepRequest: "sweep",
    AblationRequest: "ablation",
    AttributionRequest: "attribution",
    SentencesRequest: "sentences",
}
"""What a request asks for."""


class JobStatus(_Answer):
    """Where one job stands."""

    job: str
    kind: Kind
    state: JobState
    position: int | None = None
    """Jobs before it, while it is queued."""
    message: str | None = None


class KeepRequest(Request):
    author: Author = ""
    """Who typed the prompt."""
    reference: Reference | None = None
    """The right answer, where the prompt is a problem whose answer is known."""
    run: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description="the app's id of the run, as links have it"
    )
    watched: tuple[Watched, ...] = Field(default=(), max_length=MOST_WATCHED, description="thresholds that were set")
    compared: tuple[Comparison, ...] = Field(default=(), max_length=MOST_COMPARED, description="what was unusual then")


class Kept(_Answer):
    """Where an inference is stored now."""

    experiment: str
    inference: int


class Health(_Answer):
    """Where the worker stands."""

    status: Literal["starting", "ready", "failed"]
    model: str
    sae: str
    device: str | None = None
    hookpoints: dict[str, int] = {}
    """Number of features by hookpoint."""
    model_revision: str | None = None
    sae_revisions: dict[str, str] = {}
    """By hookpoint; of an older worker, and while it loads, nothing is known."""
    site: Site
    queue: int
    running: bool
    background: str
    """What the background precompute does, in words."""
    uptime: float
    """Seconds."""
    limits: dict[str, int] = {}

    def maker(self, hookpoint: str) -> Maker | None:
        """What makes latents at a hookpoint; None where the worker has no SAE."""
        if hookpoint not in self.hookpoints:
            return None
        sae = source(self.sae, self.sae_revisions.get(hookpoint))
        return Maker(source(self.model, self.model_revision), sae, self.site)
