"""Kinds of word problems about money: buying, earning, saving, selling, fencing, renting."""

from __future__ import annotations

from random import Random

from bundle.problem import FOODS, GOODS, Problem, person, step


def shopping(rng: Random) -> Problem:
    """Two goods at two prices, perhaps with change."""
    (who, she, _), (one, two) = person(rng), rng.sample(GOODS, 2)
    n, m, p, q = rng.randint(2, 6), rng.randint(2, 6), rng.randint(2, 9), rng.randint(2, 9)
    steps = [step(n, "*", p, f"cost of the {one}"), step(m, "*", q, f"cost of the {two}")]
    steps.append(step(steps[0].result, "+", steps[1].result, "total cost"))
    told = rng.choice(
        [
            f"{who} buys {n} {one} for ${p} each and {m} {two} for ${q} each.",
            (
                f"At the market, {who} picks {n} {one} and {m} {two}. "
                f"The {one} cost ${p} each and the {two} cost ${q} each."
            ),
            f"One of the {one} costs ${p} and one of the {two} costs ${q}. {who} needs {n} {one} and {m} {two}.",
        ]
    )
    asked, goal = rng.choice(
        [
            (f"How much does {she} pay in total?", f"how much {who} pays in total"),
            ("What is the total cost?", "the total cost"),
            (f"How many dollars does {who} spend?", f"how many dollars {who} spends"),
        ]
    )
    if rng.random() < 0.4:
        bill = rng.choice([value for value in (50, 100, 150) if value > steps[-1].result])
        steps.append(step(bill, "-", steps[-1].result, "change"))
        told += rng.choice([f" {she.capitalize()} pays with ${bill}.", f" {who} hands over ${bill}."])
        asked, goal = f"How much change does {she} get?", f"how much change {who} gets"
    facts = (f"{n} {one} cost {p} dollars each", f"{m} {two} cost {q} dollars each")
    return Problem("shopping", f"{told} {asked}", facts, goal, tuple(steps))


def wages(rng: Random) -> Problem:
    """Hours a day, days, pay by the hour, perhaps some of it spent."""
    (who, she, her), job = person(rng), rng.choice(["babysitting", "gardening", "painting", "washing cars", "cleaning"])
    rate, hours, days = rng.randint(3, 9), rng.randint(2, 5), rng.randint(2, 4)
    steps = [step(hours, "*", days, "number of hours"), step(hours * days, "*", rate, "money earned")]
    told = rng.choice(
        [
            f"{who} earns ${rate} an hour for {job}. {she.capitalize()} works {hours} hours a day for {days} days.",
            f"For {days} days, {who} works {hours} hours each day. The pay for {job} is ${rate} an hour.",
            f"{who} gets ${rate} for each hour of {job} and does {hours} hours a day, {days} days in all.",
        ]
    )
    facts = (f"the pay is {rate} dollars an hour", f"{who} works {hours} hours a day", f"it lasts {days} days")
    asked, goal = rng.choice(
        [
            (f"How much does {she} earn?", f"how much {who} earns"),
            (f"What does {who} earn in all?", f"what {who} earns in all"),
        ]
    )
    if rng.random() < 0.4:
        spent = rng.randint(2, min(30, steps[-1].result - 1))
        steps.append(step(steps[-1].result, "-", spent, "money left"))
        told += rng.choice([f" {she.capitalize()} spends ${spent} of it.", f" {who} pays ${spent} for {her} tools."])
        asked, goal = f"How much money is left for {who}?", f"how much money {who} has left"
    return Problem("wages", f"{told} {asked}", facts, goal, tuple(steps))


def saving(rng: Random) -> Problem:
    """A price, what is there already, what is saved each week: how many weeks."""
    (who, she, her), thing = person(rng), rng.choice(["bike", "wallet", "guitar", "tent", "watch", "camera"])
    weeks, kept, have, spent = rng.randint(2, 9), rng.randint(3, 9), rng.randint(5, 20), rng.randint(2, 9)
    price = have + weeks * kept
    steps = [step(price, "-", have, "money still needed"), step(weeks * kept, "/", kept, "number of weeks")]
    facts = [f"the {thing} costs {price} dollars", f"{who} has {have} dollars already"]
    told = rng.choice(
        [
            f"{who} wants a {thing} that costs ${price}. {she.capitalize()} already has ${have}.",
            f"A {thing} costs ${price}, and {who} has saved ${have} so far.",
            f"{who} has ${have} and dreams of a {thing} for ${price}.",
        ]
    )
    if rng.random() < 0.5:
        told += rng.choice([f" Each week {she} saves ${kept}.", f" {she.capitalize()} puts aside ${kept} every week."])
        facts.append(f"{kept} dollars are saved each week")
    else:
        steps.insert(1, step(kept + spent, "-", spent, "money saved each week"))
        told += f" Each week {she} gets ${kept + spent} and spends ${spent} of it on {her} lunch."
        facts.append(f"each week brings {kept + spent} dollars and takes {spent}")
    asked, goal = rng.choice(
        [
            (f"How many weeks must {she} save?", f"how many weeks {who} must save"),
            (f"After how many weeks can {she} buy it?", f"after how many weeks {who} can buy it"),
        ]
    )
    return Problem("saving", f"{told} {asked}", tuple(facts), goal, tuple(steps))


def baking(rng: Random) -> Problem:
    """Trays of something, some not sold, the rest sold at a price."""
    (who, she, her), food = person(rng), rng.choice(FOODS)
    trays, each, price = rng.randint(2, 6), rng.randint(3, 9), rng.randint(2, 3)
    given = rng.randint(2, trays * each - 3)
    left = trays * each - given
    steps = (
        step(trays, "*", each, f"number of {food}"),
        step(trays * each, "-", given, f"number of {food} for sale"),
        step(left, "*", price, "money earned"),
    )
    told = rng.choice(
        [
            (
                f"{who} bakes {trays} trays of {each} {food}. "
                f"{she.capitalize()} gives away {given} and sells the others for ${price} each."
            ),
            (
                f"{trays} trays with {each} {food} each come out of the oven. "
                f"{who} keeps {given} for {her} family and sells the rest at ${price} apiece."
            ),
            (
                f"For a fair, {who} bakes {trays} trays, each with {each} {food}. "
                f"{given} get burnt, and the good ones sell for ${price} each."
            ),
        ]
    )
    asked, goal = rng.choice(
        [
            (f"How much money does {she} make?", f"how much money {who} makes"),
            ("How many dollars come in?", "how many dollars come in"),
        ]
    )
    facts = (
        f"there are {trays} trays with {each} {food} each",
        f"{given} are not sold",
        f"each one sells for {price} dollars",
    )
    return Problem("baking", f"{told} {asked}", facts, goal, steps)


def fence(rng: Random) -> Problem:
    """The way around a rectangle, perhaps with the cost of fencing it."""
    (who, *_), place = person(rng), rng.choice(["garden", "field", "yard", "meadow"])
    width, more, price = rng.randint(3, 15), rng.randint(2, 9), rng.randint(2, 3)
    length = width + more
    steps = [
        step(width, "+", more, f"length of the {place}"),
        step(length, "+", width, "sum of length and width"),
        step(length + width, "*", 2, "length of the fence"),
    ]
    told = rng.choice(
        [
            (
                f"The {place} of {who} is {width} meters wide, "
                f"and its length is {more} meters more than its width. A fence goes all around it."
            ),
            f"{who} puts a fence around a {place}. It is {width} meters wide and {more} meters longer than wide.",
        ]
    )
    asked, goal = rng.choice(
        [
            ("How many meters of fence are needed?", "how many meters of fence are needed"),
            ("How long is the fence?", "how long the fence is"),
        ]
    )
    facts = (f"the {place} is {width} meters wide", f"it is {more} meters longer than wide")
    if rng.random() < 0.4:
        steps.append(step(steps[-1].result, "*", price, "cost of the fence"))
        told += f" One meter of fence costs ${price}."
        asked, goal = "How much does the fence cost?", "how much the fence costs"
        facts += (f"one meter costs {price} dollars",)
    return Problem("fence", f"{told} {asked}", facts, goal, tuple(steps))


def outing(rng: Random) -> Problem:
    """People into vehicles that hold so many, perhaps with the rent."""
    (who, *_), car = person(rng), rng.choice(["boats", "vans", "cabins", "tents", "cars"])
    seats, cars, price = rng.randint(3, 9), rng.randint(2, 8), rng.randint(3, 9)
    children = rng.randint(1, seats * cars - 1)
    adults = seats * cars - children
    steps = [step(adults, "+", children, "number of people"), step(seats * cars, "/", seats, f"number of {car}")]
    told = rng.choice(
        [
            (
                f"{adults} adults and {children} children go on a trip that {who} plans. "
                f"They take {car} for {seats} people each."
            ),
            (
                f"{who} takes {adults} adults and {children} children on an outing. "
                f"Each of the {car} holds {seats} people."
            ),
        ]
    )
    asked, goal = f"How many {car} do they need?", f"how many {car} they need"
    facts = (f"there are {adults} adults and {children} children", f"{seats} people fit in each")
    if rng.random() < 0.6:
        steps.append(step(cars, "*", price, f"cost of the {car}"))
        told += rng.choice([f" Each one costs ${price}.", f" The rent is ${price} for each."])
        asked, goal = f"How much do the {car} cost?", f"how much the {car} cost"
        facts += (f"each one costs {price} dollars",)
    return Problem("outing", f"{told} {asked}", facts, goal, tuple(steps))
