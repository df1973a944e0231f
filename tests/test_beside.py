"""What is stored beside the generation: in order, bounded, and not lost however the block ends."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import pytest
import torch

from kthink_core.model.hookpoints import Captured
from kthink_core.precompute.beside import Beside
from kthink_core.records import Generation, Inference
from tests.store_samples import sample_experiment, sample_inference
from tests.test_generate import prompt


def quiet() -> None: ...


NOTHING = Captured({}, torch.empty(0))
EXPERIMENT = sample_experiment()
PATIENCE = 20


def generation(number: int) -> Generation:
    return Generation(prompt(number, 3), (), "length")


class Store:
    """Remembers what it stored; waits for `go` before each, and fails where it is told to."""

    def __init__(self, failing: int | None = None) -> None:
        self.go, self.stored, self.failing = threading.Event(), list[int](), failing
        self.threads = set[int]()

    def __call__(self, generation: Generation, captured: Captured) -> Inference:
        assert self.go.wait(PATIENCE)
        self.threads.add(threading.get_ident())
        number = generation.prompt.inference
        if number == self.failing:
            raise InterruptedError(f"inference {number}")
        self.stored.append(number)
        return sample_inference(EXPERIMENT, number)


def test_they_are_stored_in_order_and_heard_where_one_asks() -> None:
    heard: list[tuple[int, int]] = []
    store = Store()
    with Beside(
        store, lambda made: heard.append((made.inference, threading.get_ident())), most=3, pause=quiet
    ) as beside:
        for number in range(3):
            beside.put(generation(number), NOTHING)
        beside.hear()
        assert heard == [] and beside.under_way == {0, 1, 2}
        store.go.set()
        beside.finish()
        assert not beside.under_way
    assert heard == [(number, threading.get_ident()) for number in range(3)]
    assert len(store.threads) == 1 and threading.get_ident() not in store.threads


def test_no_more_than_so_many_wait() -> None:
    heard: list[int] = []
    store = Store()
    store.go.set()
    with Beside(store, lambda made: heard.append(made.inference), most=1, pause=quiet) as beside:
        for number in range(4):
            beside.put(generation(number), NOTHING)
            assert len(beside.under_way) <= 1
        assert heard[:3] == [0, 1, 2]


def test_what_fails_is_raised_once_and_not_under_way() -> None:
    heard: list[int] = []
    store = Store(failing=1)
    store.go.set()
    with Beside(store, lambda made: heard.append(made.inference), most=5, pause=quiet) as beside:
        for number in range(3):
            beside.put(generation(number), NOTHING)
        with pytest.raises(InterruptedError, match="inference 1"):
            beside.finish()
        assert beside.under_way == {2}
        beside.finish()
    assert heard == [0, 2] == store.stored


def test_what_was_put_in_is_stored_where_the_block_ends_well() -> None:
    heard: list[int] = []
    store = Store()
    store.go.set()
    with Beside(store, lambda made: heard.append(made.inference), most=5, pause=quiet) as beside:
        for number in range(3):
            beside.put(generation(number), NOTHING)
    assert store.stored == heard == [0, 1, 2]


class Held(Store):
    """Tells when it has begun with the first."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def __call__(self, generation: Generation, captured: Captured) -> Inference:
        self.begun.set()
        return super().__call__(generation, captured)


def test_however_often_one_interrupts_what_is_being_stored_is_finished() -> None:
    """And nothing else is begun: who comes next may use what the thread did."""
    store, caught = Held(), threading.Semaphore(0)

    def interrupted(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name == "_wait_until_idle":
            caught.release()
            raise KeyboardInterrupt

    def interrupt() -> None:
        for _ in range(3):
            while not caught.acquire(timeout=0.05) and not store.go.is_set():
                os.kill(os.getpid(), signal.SIGINT)
        store.go.set()

    interrupting = threading.Thread(target=interrupt)
    previous = signal.signal(signal.SIGINT, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), Beside(store, lambda made: None, most=5, pause=quiet) as beside:
            for number in range(3):
                beside.put(generation(number), NOTHING)
            assert store.begun.wait(PATIENCE)
            interrupting.start()
            raise KeyboardInterrupt
        assert store.stored == [0]
    finally:
        store.go.set()
        interrupting.join(PATIENCE)
        signal.signal(signal.SIGINT, previous)
    assert beside.under_way == {0, 1, 2}, "nobody heard of them"


class Ended(Exception):
    """What a pause may raise."""


@pytest.mark.parametrize("where", ["put", "finish", "end"])
def test_who_waits_pauses(where: str) -> None:
    store, pauses = Store(), list[int]()

    def pause() -> None:
        pauses.append(threading.get_ident())
        if len(pauses) == 3:
            store.go.set()

    with Beside(store, lambda made: None, most=0 if where == "put" else 5, pause=pause) as beside:
        beside.put(generation(0), NOTHING)
        if where == "finish":
            beside.finish()
        assert (where == "end") is (not pauses)
    assert len(pauses) >= 3 and set(pauses) == {threading.get_ident()}
    assert store.stored == [0]


def test_who_waits_for_other_work_at_the_end_pauses_too() -> None:
    store, go, pauses = Store(), threading.Event(), list[int]()

    def pause() -> None:
        pauses.append(1)
        go.set()

    def wait() -> None:
        assert go.wait(PATIENCE)

    with Beside(store, lambda made: None, most=5, pause=pause) as beside:
        beside.tend(wait)
    assert pauses


def test_what_a_pause_raises_ends_the_wait() -> None:
    store = Store()

    def pause() -> None:
        store.go.set()
        raise Ended

    with pytest.raises(Ended), Beside(store, lambda made: None, most=5, pause=pause) as beside:
        beside.put(generation(0), NOTHING)
    assert store.stored in ([0], []), "it is finished if it was begun"


def test_the_thread_does_something_else_when_it_is_asked_to() -> None:
    store = Store()
    done: list[int] = []

    def fail() -> None:
        raise InterruptedError("something else")

    with Beside(store, lambda made: None, most=5, pause=quiet) as beside:
        beside.put(generation(0), NOTHING)
        for number in range(3):
            beside.tend(lambda number=number: done.append(number))
        assert done == [] and store.stored == []
        store.go.set()
        beside.finish()
        while not done:
            beside.hear()
        assert done == [0], "it had still to do the first"
        with pytest.raises(InterruptedError, match="something else"):
            while True:
                beside.hear()
                beside.tend(fail)
