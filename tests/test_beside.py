"""What is stored beside the generation: in order, bounded, and not lost however the block ends."""

from __future__ import annotations

import threading

import pytest
import torch

from kthink_core.model.hookpoints import Captured
from kthink_core.precompute.beside import Beside
from kthink_core.records import Generation, Inference
from tests.store_samples import sample_experiment, sample_inference
from tests.test_generate import prompt

NOTHING = Captured({}, torch.empty(0))
EXPERIMENT = sample_experiment()
PATIENCE = 60


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
    with Beside(store, lambda made: heard.append((made.inference, threading.get_ident())), most=3) as beside:
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
    with Beside(store, lambda made: heard.append(made.inference), most=1) as beside:
        for number in range(4):
            beside.put(generation(number), NOTHING)
            assert len(beside.under_way) <= 1
        assert heard[:3] == [0, 1, 2]


def test_what_fails_is_raised_once_and_not_under_way() -> None:
    heard: list[int] = []
    store = Store(failing=1)
    store.go.set()
    with Beside(store, lambda made: heard.append(made.inference), most=5) as beside:
        for number in range(3):
            beside.put(generation(number), NOTHING)
        with pytest.raises(InterruptedError, match="inference 1"):
            beside.finish()
        assert beside.under_way == {2}
        beside.finish()
    assert heard == [0, 2] == store.stored


def test_what_was_put_in_is_stored_however_the_block_ends() -> None:
    store = Store()
    with pytest.raises(KeyboardInterrupt), Beside(store, lambda made: None, most=5) as beside:
        beside.put(generation(0), NOTHING)
        beside.put(generation(1), NOTHING)
        store.go.set()
        raise KeyboardInterrupt
    assert store.stored == [0, 1]


def test_the_thread_does_something_else_when_it_is_asked_to() -> None:
    store = Store()
    done: list[int] = []
    ended = threading.Event()

    def fail() -> None:
        ended.set()
        raise InterruptedError("something else")

    with Beside(store, lambda made: None, most=5) as beside:
        beside.put(generation(0), NOTHING)
        for number in range(3):
            beside.tend(lambda number=number: done.append(number))
        assert done == [] and store.stored == []
        store.go.set()
        beside.finish()
        while not done:
            beside.hear()
        assert done == [0], "it had still to do the first"
        while not ended.is_set():
            beside.hear()
            beside.tend(fail)
        with pytest.raises(InterruptedError, match="something else"):
            while True:
                beside.hear()
