"""Every error a user can meet. Each says in one line what was given, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


class KthinkError(Exception):
    """Base of all errors that are shown to the user as one line, without a stack trace."""


def in_words(error: Exception) -> str:
    """What a user reads of an error, in one line: of the operating system's, what it says and of which file; of a
    library's, the first paragraph."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).strip().partition("\n\n")[0].split())


LONGEST_SHOWN = 60
"""Characters of what was given that a message repeats."""


def short(given: object) -> str:
    """What was given, as far as a message repeats it."""
    text = encodable(str(given)[: LONGEST_SHOWN + 1])
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def encodable(text: str) -> str:
    """A text that can be written and shown: lone halves of surrogate pairs are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _choices(given: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` where something is near, else the list of what there is."""
    names = list(known)
    near = get_close_matches(given[:LONGEST_SHOWN], names, n=1)  # takes quadratic time
    if near:
        return f"did you mean '{near[0]}'?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown or 'none'}"


class UnknownName(KthinkError):
    """A preset, experiment, hookpoint, query or scope that does not exist."""

    def __init__(self, kind: str, given: str, known: Iterable[str], hint: str = "") -> None:
        super().__init__(f"unknown {kind} '{short(given)}': {_choices(given, known)}{hint and '; ' + hint}")


class OutOfRange(KthinkError):
    """An index that lies outside what exists. `size` counts what exists, from 0."""

    def __init__(self, kind: str, given: int, size: int) -> None:
        span = f"there are {size}, from 0 to {size - 1}" if size else "there is none yet"
        super().__init__(f"{kind} {given} is out of range: {span}")


class BadValue(KthinkError):
    """An option or a setting whose value makes no sense."""


class BadProblems(KthinkError):
    """A problem set that is missing, broken or empty."""


class PromptTooLong(KthinkError):
    def __init__(self, problem: int, tokens: int, new_tokens: int, context: int) -> None:
        super().__init__(
            f"problem {problem}: prompt of {tokens} tokens + {new_tokens} new tokens exceeds the model's context of "
            f"{context}; shorten the question or lower --max-new-tokens"
        )


class MissingFiles(KthinkError):
    """A model or SAE that is neither a folder here nor to be had from the hub."""


class UnsupportedSae(KthinkError):
    """An SAE that does not fit the model, or is of a kind that kthink does not encode."""


class WrongSite(KthinkError):
    """An SAE that was clearly trained at another site than it would be used at."""

    def __init__(
        self, hookpoint: str, best: tuple[str, float], alike: Sequence[str], asked: tuple[str, float], remedy: str
    ) -> None:
        """`best`, `asked`: a site and the FVU there; `alike`: further sites at which it is about as small."""
        others = f" (or {', '.join(alike)}, which is alike)" if alike else ""
        super().__init__(
            f"the SAE of {hookpoint} was trained at the {best[0]}{others}, where its FVU is {best[1]:.2f}; at the "
            f"{asked[0]}, which would be captured, it is {asked[1]:.2f}: {remedy}, or go on as it is with "
            "--site hookpoint"
        )


class UnsupportedModel(KthinkError):
    """A model that is whole, and of a kind that kthink does not load."""


class BadTemplate(KthinkError):
    """A chat template that cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model's chat template cannot be used: {reason}")


class ExperimentMismatch(KthinkError):
    """An experiment of that name, or a training, exists with another configuration."""

    def __init__(self, name: str, differing: dict[str, tuple[object, object]], kind: str = "experiment") -> None:
        parts = ", ".join(f"{key}: {old!r} stored, {new!r} asked" for key, (old, new) in differing.items())
        other = {"experiment": "--experiment NAME", "training": "--name NAME, or --out DIR"}[kind]
        super().__init__(f"{kind} '{name}' exists with another configuration ({parts}); choose {other}")


class ImportedExperiment(KthinkError):
    """Something would be computed for an experiment that was made of a received file."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"experiment '{name}' was imported: nothing of it is computed here; choose another --experiment (`migrate` "
            "mends its files where they are damaged)"
        )


class NotComparable(KthinkError):
    """Two experiments whose features, or what they were found in, differ by more than what is compared."""

    def __init__(self, one: str, other: str, differing: dict[str, tuple[object, object]]) -> None:
        parts = ", ".join(f"{key}: {short(here)} and {short(there)}" for key, (here, there) in differing.items())
        super().__init__(f"experiments '{one}' and '{other}' cannot be compared: they differ in {parts}")


class ExperimentBusy(KthinkError):
    """A second writer on one experiment, or training."""

    def __init__(self, name: str, owner: str, kind: str = "experiment") -> None:
        super().__init__(f"{kind} '{name}' is being written by {owner}; wait for it or stop it")


class BadFile(KthinkError):
    """A file whose content is not what a file of its kind holds."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class CorruptFile(KthinkError):
    """A file of the store whose content is not what was written into it."""

    def __init__(self, path: Path, remedy: str, reason: str = "") -> None:
        super().__init__(f"{path} is damaged{reason and f' ({reason})'}; {remedy}")
        self.path = path


class ForeignFile(CorruptFile):
    """A file of the store that is sound and was written for another experiment."""

    def __init__(self, path: Path) -> None:
        remedy = "move it away, or restore experiment.json if that is what was replaced"
        KthinkError.__init__(self, f"{path} belongs to another experiment; {remedy}")
        self.path = path


class LostFile(CorruptFile):
    """A file of the store that others tell of, and that is not there."""

    def __init__(self, path: Path, remedy: str) -> None:
        KthinkError.__init__(self, f"{path} is missing; {remedy}")
        self.path = path


class StoreUnavailable(KthinkError):
    """A file of the store that is sound, as far as can be told, and cannot be used now."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be used now ({reason}); the file is left as it is: try again")


class SchemaTooNew(KthinkError):
    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(f"{path} has store schema {found}, this kthink reads up to {known}; upgrade kthink")


class SchemaTooOld(KthinkError):
    def __init__(self, path: Path, found: int, known: int, *, open_ended: bool = False) -> None:
        remedy = "start the worker (`up`)" if open_ended else "run `precompute` again"
        super().__init__(
            f"{path} has store schema {found}, this kthink reads {known}; {remedy}: "
            "it builds another from the journal, nothing is generated anew"
        )


class DiskFull(KthinkError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"no space left writing {path}; what was committed is kept: free space and run again")


class PromptRefused(KthinkError):
    """A live prompt that the worker does not take as it is."""


class Busy(KthinkError):
    """The worker does not take it now; `retry_after`: seconds after which it may."""

    def __init__(self, message: str, retry_after: float = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Busy):
    def __init__(self, jobs: int) -> None:
        super().__init__(f"the worker's queue is full ({jobs} jobs); try again in a moment")


class WorkerUnready(KthinkError):
    """A worker that still loads its model, or is ending."""


class WorkerFailed(KthinkError):
    """A worker that cannot go on; started again, it may."""


class WorkerMissing(KthinkError):
    """No worker answers where one was expected."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"no worker answers at {url} ({reason}); start one with `python -m kthink_core worker`, or set "
            "KTHINK_WORKER_URL"
        )


class WorkerRefused(KthinkError):
    """The worker answered, and did not take what it was asked; `retry_after`: seconds after which it might."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WorkerLost(KthinkError):
    """The worker went away in the middle of an answer."""

    def __init__(self, url: str) -> None:
        super().__init__(f"the worker at {url} went away; what came stays here, run it again when it is back")


class HookSkipped(KthinkError):
    """A forward pass that went past a hook: what was to be captured or changed there was not."""

    def __init__(self, hookpoints: Sequence[str]) -> None:
        super().__init__(
            f"the model ran without its hooks at {', '.join(sorted(hookpoints))}: nothing of this run is kept; "
            "compiled models and those whose modules are called in another way cannot be captured or steered"
        )


class OutOfMemory(KthinkError):
    def __init__(self, device: str, doing: str, remedy: str) -> None:
        super().__init__(f"out of memory on {device} {doing}; {remedy}")


class TooLong(KthinkError):
    """A label, note or name of more characters than are kept."""

    def __init__(self, what: str, given: int, most: int) -> None:
        super().__init__(f"{what} of {given:,} characters: at most {most:,} are kept; shorten it")


class NotAllowed(KthinkError):
    """What a person's role does not include."""

    def __init__(self, doing: str, role: str, needed: str) -> None:
        super().__init__(f"{doing} needs the role {needed}; yours is {role}: ask whoever invited you")


class NotTheAuthor(KthinkError):
    def __init__(self, author: str) -> None:
        super().__init__(f"only its author, {author or 'who gave no name'}, can take this note back")


class NotesUnavailable(KthinkError):
    """A file of notes that cannot be opened or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"notes cannot be kept in {path} ({reason}); check that the folder is there and can be written"
        )


class NotesTooNew(KthinkError):
    def __init__(self, path: Path, migration: str) -> None:
        super().__init__(f"{path} was written by a later kthink (step '{migration}' is unknown here); upgrade kthink")
