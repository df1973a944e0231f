"""Kinds of word problems about counts and measures: things, shares, miles, ages, pages, legs."""

from __future__ import annotations

from random import Random

from bundle.problem import FOODS, PACKS, THINGS, Problem, person, step


def collection(rng: Random) -> Problem:
    """Something at first, more of it, some of it gone, perhaps more again."""
    (who, she, her), thing = person(rng), rng.choice(THINGS)
    a, b = rng.randint(8, 30), rng.randint(3, 20)
    c = rng.randint(2, 20 if a + b > 24 else 9)
    steps = [step(a, "+", b, f"number of {thing} after the gift"), step(a + b, "-", c, f"number of {thing} left")]
    told = rng.choice(
        [
            f"{who} has {a} {thing}. {she.capitalize()} gets {b} more from {her} uncle and gives {c} to a friend.",
            f"{who} had {a} {thing} and found {b} more. Then {she} lost {c} of them.",
            f"There are {a} {thing} in a drawer. {who} puts in {b} more and later takes out {c}.",
        ]
    )
    facts = (f"there are {a} {thing} at first", f"{b} more come in", f"{c} go away")
    if rng.random() < 0.4:
        d = rng.randint(2, 15)
        steps.append(step(a + b - c, "+", d, f"number of {thing} in the end"))
        told += rng.choice([f" At last {she} buys {d} new ones.", f" In the end {d} more {thing} arrive."])
        facts += (f"{d} are added in the end",)
    asked, goal = rng.choice(
        [
            (f"How many {thing} are there now?", f"how many {thing} there are now"),
            (f"How many {thing} are left?", f"how many {thing} are left"),
        ]
    )
    return Problem("collection", f"{told} {asked}", facts, goal, tuple(steps))


def comparison(rng: Random) -> Problem:
    """Two times, the second a half or a multiple of the first: their sum or difference."""
    (who, she, _), thing = person(rng), rng.choice(THINGS)
    one, two = rng.choice([("April", "May"), ("Monday", "Tuesday"), ("the morning", "the evening")])
    times, operator, by = rng.choice(
        [("half as many", "/", 2), ("twice as many", "*", 2), ("three times as many", "*", 3)]
    )
    a = 2 * rng.randint(3, 30) if operator == "/" else rng.randint(4, 30)
    first = step(a, operator, by, f"number of {thing} in {two}" if "the" in two else f"number of {thing} for {two}")
    if rng.random() < 0.5:
        last, asked, goal = step(a, "+", first.result, f"number of {thing} altogether"), "altogether", "altogether"
    else:
        large, small = max(a, first.result), min(a, first.result)
        last, asked, goal = step(large, "-", small, "difference"), "as a difference", "is the difference"
    told = rng.choice(
        [
            f"{who} sold {a} {thing} in {one}, and then {she} sold {times} {thing} in {two}.",
            f"In {one}, {who} counted {a} {thing}. In {two}, {she} counted {times}.",
            f"{who} made {a} {thing} in {one} and {times} in {two}.",
        ]
    )
    ask = (
        f"How many {thing} is that altogether?" if asked == "altogether" else "What is the difference between the two?"
    )
    goal = f"how many {thing} that is altogether" if goal == "altogether" else "the difference between the two"
    return Problem(
        "comparison", f"{told} {ask}", (f"{a} {thing} came in {one}", f"{times} came in {two}"), goal, (first, last)
    )


def sharing(rng: Random) -> Problem:
    """Several packs, some of it gone, the rest divided equally."""
    (who, she, _), food, pack = person(rng), rng.choice((*FOODS, "candies", "nuts")), rng.choice(PACKS)
    boxes, each, children = rng.randint(2, 9), rng.randint(3, 9), rng.randint(2, 6)
    eaten = boxes * each % children or children
    if boxes * each <= eaten:  # nothing would be left to share: one more of each
        boxes, each, eaten = children, each + 1, children
    total, left = boxes * each, boxes * each - eaten
    steps = (
        step(boxes, "*", each, f"number of {food}"),
        step(total, "-", eaten, f"number of {food} left"),
        step(left, "/", children, "share of each child"),
    )
    told = rng.choice(
        [
            (
                f"{who} has {boxes} {pack} with {each} {food} in each. "
                f"{she.capitalize()} eats {eaten} and shares the rest equally among {children} children."
            ),
            (
                f"There are {boxes} {pack} of {food}, and each holds {each}. "
                f"{eaten} of the {food} are bad. {children} children share the others equally."
            ),
            (
                f"{who} opens {boxes} {pack}. Each one holds {each} {food}. "
                f"After {eaten} are gone, {children} children divide the rest evenly."
            ),
        ]
    )
    asked, goal = rng.choice(
        [
            (f"How many {food} does each child get?", f"how many {food} each child gets"),
            ("What is the share of each child?", "the share of each child"),
        ]
    )
    facts = (f"there are {boxes} {pack} with {each} {food} each", f"{eaten} are gone", f"{children} children share")
    return Problem("sharing", f"{told} {asked}", facts, goal, steps)


def journey(rng: Random) -> Problem:
    """Two legs at two speeds: the whole distance."""
    (who, she, _), way = person(rng), rng.choice(["by car", "by train", "by bike", "by bus"])
    v, w, t, u = 10 * rng.randint(1, 6), 10 * rng.randint(1, 6), rng.randint(2, 5), rng.randint(2, 5)
    steps = [step(v, "*", t, "first distance"), step(w, "*", u, "second distance")]
    steps.append(step(v * t, "+", w * u, "whole distance"))
    told = rng.choice(
        [
            f"{who} travels {way} for {t} hours at {v} miles per hour, then for {u} hours at {w} miles per hour.",
            (
                f"Going {way}, {who} makes {v} miles an hour for {t} hours. "
                f"After a break {she} makes {w} miles an hour for {u} hours."
            ),
            f"A trip {way} has two parts: {t} hours at {v} miles an hour and {u} hours at {w} miles an hour.",
        ]
    )
    asked, goal = rng.choice(
        [
            ("How many miles is that in all?", "how many miles that is in all"),
            ("How long is the whole trip?", "the length of the whole trip"),
        ]
    )
    facts = (f"the first part is {t} hours at {v} miles an hour", f"the second part is {u} hours at {w} miles an hour")
    return Problem("journey", f"{told} {asked}", facts, goal, tuple(steps))


def ages(rng: Random) -> Problem:
    """Three people's ages, each told by another's."""
    (young, *_), (middle, *_), (old, *_) = person(rng), person(rng), person(rng)
    while len({young, middle, old}) < 3:
        (young, *_), (middle, *_), (old, *_) = person(rng), person(rng), person(rng)
    x, times, d, later = rng.randint(3, 12), rng.randint(2, 4), rng.randint(2, 15), rng.randint(2, 15)
    steps = [step(x, "*", times, f"age of {middle}"), step(x * times, "+", d, f"age of {old}")]
    told = rng.choice(
        [
            (
                f"{young} is {x} years old. {middle} is {times} times as old as {young}, "
                f"and {old} is {d} years older than {middle}."
            ),
            f"{old} is {d} years older than {middle}. {middle} is {times} times as old as {young}, who is {x}.",
        ]
    )
    facts = (f"{young} is {x}", f"{middle} is {times} times as old", f"{old} is {d} years older than {middle}")
    choice = rng.randrange(3)
    if choice == 0:
        asked, goal = f"How old is {old}?", f"how old {old} is"
    elif choice == 1:
        steps.append(step(steps[-1].result, "+", later, f"age of {old} later"))
        asked, goal = f"How old will {old} be in {later} years?", f"how old {old} will be in {later} years"
    else:
        steps.append(step(steps[-1].result, "+", x, "sum of the two ages"))
        asked, goal = f"What is the sum of the ages of {old} and {young}?", f"the sum of the ages of {old} and {young}"
    return Problem("ages", f"{told} {asked}", facts, goal, tuple(steps))


def reading(rng: Random) -> Problem:
    """A book, some days of reading, and what is left per remaining day."""
    (who, she, _), book = person(rng), rng.choice(["novel", "book", "story", "diary"])
    daily, days, rest, left = rng.randint(3, 12), rng.randint(2, 5), rng.randint(2, 6), rng.randint(3, 9)
    done, pages = daily * days, daily * days + rest * left
    steps = (
        step(daily, "*", days, "number of pages read"),
        step(pages, "-", done, "number of pages left"),
        step(rest * left, "/", rest, "number of pages a day"),
    )
    told = rng.choice(
        [
            (
                f"{who} reads a {book} of {pages} pages. "
                f"For {days} days {she} reads {daily} pages a day. The rest must be read in {rest} days."
            ),
            (
                f"A {book} has {pages} pages. "
                f"{who} reads {daily} pages on each of {days} days and wants to finish in {rest} more days."
            ),
            (
                f"{who} has a {book} with {pages} pages, "
                f"reads {daily} pages daily for {days} days, and then has {rest} days for the rest."
            ),
        ]
    )
    asked, goal = rng.choice(
        [
            (f"How many pages a day must {she} read then?", f"how many pages a day {who} must read then"),
            ("How many pages is that for each remaining day?", "the pages for each remaining day"),
        ]
    )
    facts = (f"the {book} has {pages} pages", f"{who} reads {daily} pages a day for {days} days", f"{rest} days remain")
    return Problem("reading", f"{told} {asked}", facts, goal, steps)


def farm(rng: Random) -> Problem:
    """Birds and beasts: how many legs."""
    who, (bird, beast) = (
        person(rng).name,
        (rng.choice(["chickens", "ducks", "geese"]), rng.choice(["cows", "goats", "sheep"])),
    )
    birds, beasts = rng.randint(3, 30), rng.randint(2, 15)
    steps = (
        step(birds, "*", 2, f"number of legs of the {bird}"),
        step(beasts, "*", 4, f"number of legs of the {beast}"),
        step(birds * 2, "+", beasts * 4, "number of legs in all"),
    )
    told = rng.choice(
        [
            f"{who} has {birds} {bird} and {beasts} {beast} on the farm.",
            f"On the farm of {who} there are {birds} {bird} and {beasts} {beast}.",
            f"A farm keeps {birds} {bird} and {beasts} {beast}, and {who} looks after them.",
        ]
    )
    asked, goal = rng.choice(
        [
            ("How many legs do the animals have?", "how many legs the animals have"),
            ("How many legs is that in all?", "how many legs that is in all"),
        ]
    )
    return Problem(
        "farm",
        f"{told} {asked}",
        (f"each of the {birds} {bird} has 2 legs", f"each of the {beasts} {beast} has 4 legs"),
        goal,
        steps,
    )
