"""Labels and notes on a page: what stands about a subject, and a form to write. All of it is shown as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import streamlit as st

from kthink_core import notes
from kthink_core.access.person import Person
from kthink_core.errors import KthinkError
from kthink_core.evidence.pattern import compiled
from kthink_core.notes import (
    FILE,
    LONGEST,
    Entry,
    FeatureSubject,
    InferenceSubject,
    Notebook,
    SpanSubject,
    Subject,
    What,
    by_score,
)
from kthink_core.ui.parts import terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import visitor
from kthink_core.ui.view.page import Page

AUTHOR = "notes author"
_OWN = "notes written in this visit"
"""Threads: who gives no name can still take back what was written since the page was opened."""


class _Opinion(NamedTuple):
    """What a subject has one of."""

    label: str
    pattern: str
    """What the label claims of the text around: evidence/pattern.py."""
    flag: str
    """`1` or empty."""
    rating: str
    """`1` to `5` or empty."""


_WHATS: tuple[What, ...] = ("label", "pattern", "flag", "rating")


def notebook(page: Page) -> Notebook:
    """The notes of the cache that there are for whoever looks; who is signed in signs what is written in it."""
    return Notebook(page.source.cache / FILE, page.person.name, page.person.experiments)


def of_feature(page: Page, feature: int, hookpoint: str | None = None) -> FeatureSubject:
    """A feature of the view's hookpoint, or of another."""
    return notes.of_feature(page.experiment, hookpoint or page.view.hookpoint, int(feature))


def of_inference(page: Page, inference: int) -> InferenceSubject:
    return InferenceSubject(page.experiment.name, int(inference))


def of_span(page: Page, inference: int, first: int, last: int) -> SpanSubject:
    return SpanSubject(page.experiment.name, int(inference), int(first), int(last))


def labels(page: Page, hookpoint: str, features: Iterable[int]) -> dict[int, str]:
    """The labels of those of the features that have one: of several, the one that `notes.labels` puts first. Whoever
    wrote them, they are text, not Markdown. None where the file cannot be read: the panels and the page of notes say
    so, other pages go on without."""
    try:
        about = of_feature(page, 0, hookpoint)
        return notebook(page).labels(about.sae, about.sae_revision, hookpoint, features)
    except KthinkError:
        return {}


def label_search(page: Page, hookpoint: str, text: str, top: int = 10_000) -> list[int]:
    """The first features one of whose labels contains `text`, in whatever case; none for an empty text."""
    words = text.strip()
    if not words:
        return []
    try:
        found = notebook(page).all_labels(of_feature(page, 0, hookpoint), containing=words)
    except KthinkError:
        return []
    return list(dict.fromkeys(label.feature for label in found))[:top]


def labelled(page: Page, hookpoint: str, top: int) -> list[int]:
    """The first features of a hookpoint that have a label of a person."""
    try:
        found = notebook(page).all_labels(of_feature(page, 0, hookpoint), own=True)
    except KthinkError:
        return []
    return [label.feature for label in found][:top]


def panel(page: Page, about: Subject, quote: str = "") -> None:
    """What stands about a subject, and the form to write. Draws where it is called, once a subject and run.

    quote: the text of a span, kept beside what is written now: the tokens at its positions may be others one day.
    """
    book = notebook(page)
    key = f"notes {about}"
    with st.container(border=True):
        _standing(book, about, page.experiment.name, page.person)
        if page.person.may("annotator"):
            _form(page, book, about, quote, key)


@st.fragment(run_every="5s")
def _standing(book: Notebook, about: Subject, here: str, person: Person) -> None:
    """What others write appears by itself. `here`: the experiment in view."""
    try:
        entries = book.entries(about)
    except KthinkError as error:
        st.warning(plain(str(error)), icon=":material/warning:")
        return
    _opinion_line(entries, here)
    for entry in entries:
        if entry.what == "note":
            _note(book, entry, here, person)
    if not entries:
        st.caption("No label or note yet.")


def _opinion_line(entries: Sequence[Entry], here: str) -> None:
    """Label, pattern, rating and flag, and who gave them last; below them what was imported."""
    one = {entry.what: entry for entry in entries if entry.what != "note" and not entry.source}
    if one:
        _own_line(one, here)
    for entry in sorted((entry for entry in entries if entry.source), key=by_score):
        score = "" if entry.score is None else f", score {entry.score:.3g}"
        st.markdown(f"{plain(entry.value)} :gray[{plain(entry.source)}{score}]")


def _own_line(one: Mapping[str, Entry], here: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if "label" in one:
            st.markdown(f"**{plain(one['label'].value)}**", width="content")
        if "rating" in one:
            stars = int(one["rating"].value)
            st.badge("★" * stars + "☆" * (5 - stars), color="orange")
        if "flag" in one:
            st.badge("flagged", icon=":material/flag:", color="red")
    if "pattern" in one:
        st.text(f"Claimed to fire at: {one['pattern'].value}")
    by: dict[str, list[str]] = {}
    for what, entry in one.items():
        by.setdefault(_signature(entry, here), []).append(what)
    st.caption(" · ".join(f"{', '.join(whats)} {signature}" for signature, whats in by.items()))


def _note(book: Notebook, entry: Entry, here: str, person: Person) -> None:
    signed = person.way != "open"
    own = entry.author == person.name if signed else entry.thread in st.session_state.get(_OWN, ()) or _is(entry.author)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(_signature(entry, here), width="content")
        if own and person.may("annotator"):
            st.button(
                "Delete", type="tertiary", icon=":material/delete:", key=f"delete note {entry.thread}",
                on_click=_delete, args=(book, entry, entry.author, person),
            )  # fmt: skip
        elif entry.author and not signed:
            _ask_who(book, entry, person)
    st.text(entry.value)


def _ask_who(book: Notebook, entry: Entry, person: Person) -> None:
    """What deletes a note of whoever has not said yet in this visit who they are."""
    name = f"name to delete {entry.thread}"

    def delete() -> None:
        _delete(book, entry, st.session_state[name], person)

    with (
        st.popover("Delete", type="tertiary", icon=":material/delete:", key=f"ask {entry.thread}"),
        st.form(f"delete note {entry.thread}", border=False),
    ):
        st.text_input("Your name, as it stands beside the note", max_chars=LONGEST["author"], key=name)
        st.form_submit_button("Delete the note", on_click=delete)


def _form(page: Page, book: Notebook, about: Subject, quote: str, key: str) -> None:
    try:
        now = _opinion(book.entries(about))
    except KthinkError:
        now = _opinion(())  # said already; what was typed must not vanish with the form
    kind = type(about)
    # New fields after each saving; label, pattern, rating and flag are new, too, where somebody else has changed them.
    saved = st.session_state.setdefault(f"{key} saved", 0)
    keys = {name: f"{key} {name} {saved} {now}" for name in _Opinion._fields} | {"note": f"{key} note {saved}"}
    keys["author"] = f"{key} author {st.session_state.get(AUTHOR, '')}"
    title = "Name, rate or note" if kind is FeatureSubject else "Note, rate or flag"
    with st.expander(title, icon=":material/edit_note:"), st.form(key, border=False):
        if kind is FeatureSubject:
            st.text_input(
                "Label", now.label, LONGEST["label"], key=keys["label"], placeholder="What does it stand for?"
            )
            st.text_input(
                "Pattern", now.pattern, LONGEST["pattern"], key=keys["pattern"],
                placeholder="wait, hmm", help=terms.help("pattern"),
            )  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="center"):
            st.feedback("stars", default=int(now.rating) - 1 if now.rating else None, key=keys["rating"])
            st.checkbox("Flag", bool(now.flag), key=keys["flag"], help="Marks it as worth another look.")
        st.text_area("Note", max_chars=LONGEST["note"], key=keys["note"], placeholder="Plain text.")
        if page.person.way == "open":
            st.text_input("Your name", st.session_state.get(AUTHOR, ""), LONGEST["author"], key=keys["author"])
        st.form_submit_button("Save", on_click=_save, args=(page, book, about, quote, key, now, keys))
    if problem := st.session_state.pop(f"{key} problem", None):
        st.error(plain(problem), icon=":material/error:")


def _save(
    page: Page, book: Notebook, about: Subject, quote: str, key: str, before: _Opinion, keys: dict[str, str]
) -> None:
    """Writes what was changed, and only that: what stood in the form unchanged may be out of date by now."""
    state = st.session_state
    rating, flag = state[keys["rating"]], state[keys["flag"]]
    given = _Opinion(
        label=state.get(keys["label"], before.label),
        pattern=state.get(keys["pattern"], before.pattern),
        flag="1" if flag else "",
        rating="" if rating is None else str(rating + 1),
    )
    author, note = state.get(keys["author"], ""), state[keys["note"]]
    facts = {"author": author, "experiment": page.experiment.name, "quote": quote}
    try:
        page.person.require("annotator", "writing notes")
        if given.pattern.strip() and given.pattern != before.pattern:
            compiled(given.pattern)
        for what, old, new in zip(_WHATS, before, given, strict=True):
            if new != old:
                book.write(about, what, new, **facts)
                visitor.noted(page.person, what, page.experiment.name)
        if note.strip():
            state.setdefault(_OWN, set()).add(book.write(about, "note", note, **facts))
            visitor.noted(page.person, "note", page.experiment.name)
    except KthinkError as error:
        state[f"{key} problem"] = str(error)
    else:
        state[f"{key} saved"] += 1
        state[AUTHOR] = author


def _delete(book: Notebook, entry: Entry, author: str, person: Person) -> None:
    try:
        person.require("annotator", "taking notes back")
        book.delete(entry.thread, author)
        visitor.noted(person, "note taken back", entry.experiment)
    except KthinkError as error:  # gone already, in another window, or somebody else's
        st.toast(plain(str(error)), icon=":material/info:")
    else:
        st.session_state[AUTHOR] = author or st.session_state.get(AUTHOR, "")


def _opinion(entries: Sequence[Entry]) -> _Opinion:
    values = {entry.what: entry.value for entry in entries if not entry.source}
    return _Opinion(**{name: values.get(name, "") for name in _Opinion._fields})


def _is(author: str) -> bool:
    return author != "" and author == st.session_state.get(AUTHOR, "").strip()


def _signature(entry: Entry, here: str) -> str:
    """Markdown: who and when; and in which experiment, if it was another one."""
    when = datetime.fromisoformat(entry.updated).strftime("%Y-%m-%d %H:%M UTC")
    where = "" if entry.experiment == here else f", in {plain(entry.experiment)}"
    return f"by {plain(entry.author) or 'someone'}, {when}{where}"
