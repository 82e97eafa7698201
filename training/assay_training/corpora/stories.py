"""Sentence templates of the arithmetic stories, apart for training and for the held-out items.

Numbers stand in the order in which the solution uses them. Slots: {n} name, {m} another name, {o} objects, {a} {b}
numbers, {e} the equation with its result.
"""

from .items import Split

T, H = Split.TRAIN, Split.HELD_OUT

START = {
    T: (
        "{n} has {a} {o}.",
        "{n} owns {a} {o}.",
        "There are {a} {o} in the box of {n}.",
        "{n} starts with {a} {o}.",
        "{n} counted {a} {o} in the morning.",
        "At first {n} had {a} {o}.",
        "In a shop {n} sees {a} {o}.",
        "{n} keeps {a} {o} in a bag.",
        "On Monday {n} had {a} {o}.",
        "{n} bought {a} {o} at the market.",
        "{n} and {m} share {a} {o}.",
        "A box holds {a} {o}.",
        "Last week {n} made {a} {o}.",
        "{n} found {a} {o} in the park.",
        "The farm of {n} has {a} {o}.",
        "{n} collects {o} and has {a} of them.",
        "There were {a} {o} on the table.",
        "{n} got {a} {o} from {m}.",
    ),
    H: (
        "{n} packed {a} {o} for the trip.",
        "Inside the cupboard of {n} lie {a} {o}.",
        "{n} inherited {a} {o} from an aunt.",
        "A museum shows {a} {o}.",
        "Yesterday evening {n} possessed exactly {a} {o}.",
    ),
}
GAIN = {
    T: (
        "Then {n} buys {a} more.",
        "{m} gives {n} {a} more {o}.",
        "{n} finds another {a}.",
        "Later {n} gets {a} more {o}.",
        "After that {a} {o} are added.",
        "{n} receives {a} from {m}.",
        "The next day {n} makes {a} new {o}.",
        "A friend brings {a} more.",
        "{n} picks up {a} extra {o}.",
        "On Tuesday {n} wins {a} {o}.",
        "{n} earns {a} more.",
        "Then {m} adds {a} of them.",
        "{n} orders {a} more {o}.",
        "The shop sends {a} more {o}.",
    ),
    H: (
        "Afterwards a neighbour donates {a} further {o}.",
        "A parcel with {a} additional {o} arrives.",
        "{n} discovers {a} more behind the sofa.",
        "Soon {m} hands over {a} of these too.",
    ),
}
LOSS = {
    T: (
        "Then {n} loses {a}.",
        "{n} gives {a} {o} to {m}.",
        "{n} sells {a} of them.",
        "Later {a} {o} break.",
        "{m} takes {a} {o} away.",
        "{n} uses {a} {o}.",
        "After that {n} throws away {a}.",
        "{n} drops {a} of the {o}.",
        "On Friday {n} eats {a}.",
        "A thief steals {a} {o}.",
        "{n} lends {a} {o} to {m}.",
        "{a} of the {o} are bad.",
        "Then {n} spends {a}.",
        "{n} leaves {a} {o} at home.",
    ),
    H: (
        "Sadly {a} of these get ruined by rain.",
        "{n} mails {a} {o} to a cousin.",
        "A goat swallows {a} of the {o}.",
        "{n} donates {a} to the school.",
    ),
}
TIMES = {
    T: (
        "Then the number becomes {a} times as large.",
        "{m} has {a} times as many {o}.",
        "{n} does this {a} times.",
        "Each of the {o} costs {a} dollars.",
        "{n} does the same on {a} days.",
        "Every one is worth {a} points.",
        "All {a} friends have that many.",
        "{n} sells each for {a} dollars.",
        "One needs {a} minutes to make.",
        "In a month there are {a} times as many.",
    ),
    H: (
        "A single one weighs {a} grams.",
        "{n} repeats it during {a} weeks.",
        "A wizard multiplies them by {a}.",
    ),
}
SHARE = {
    T: (
        "{n} shares them equally among {a} friends.",
        "They are put into {a} equal boxes.",
        "{n} splits them into {a} groups.",
        "Then {a} children divide them equally.",
        "{n} packs them into {a} bags of the same size.",
        "They are divided by {a} people.",
        "{n} deals them to {a} players.",
        "The {o} are spread over {a} shelves.",
    ),
    H: (
        "A teacher distributes them evenly to {a} pupils.",
        "They fill {a} identical crates.",
        "{n} arranges them in {a} equal rows.",
    ),
}
GROUPS = {
    T: (
        "{n} has {a} boxes with {b} {o} in each.",
        "{n} buys {a} bags of {b} {o}.",
        "There are {a} rows of {b} {o}.",
        "{n} fills {a} jars with {b} {o} each.",
        "{n} reads {a} pages with {b} {o} on every page.",
        "{a} tables hold {b} {o} each.",
        "For {a} days {n} makes {b} {o} a day.",
        "{n} sells {a} {o} for {b} dollars each.",
        "{a} friends bring {b} {o} each.",
    ),
    H: (
        "{n} loads {a} carts, every cart with {b} {o}.",
        "{a} drawers contain {b} {o} apiece.",
        "{n} wraps {a} parcels containing {b} {o} apiece.",
    ),
}
TOGETHER = {
    T: (
        "They put all {o} together.",
        "Both count their {o} together.",
        "They share the total.",
        "All of these go in one box.",
    ),
    H: ("The pair pools everything.", "Everything is piled up jointly."),
}
QUESTION = {
    T: (
        "How many {o} are there now?",
        "How many {o} does {n} have?",
        "What is the number at the end?",
        "How many are left?",
        "How many is that in total?",
        "What is the total?",
        "How many {o} are there in the end?",
        "Find the final number.",
        "How much is it?",
        "What does {n} get?",
    ),
    H: ("What amount results for {n}?", "Determine how many {o} remain finally.", "Which number comes out?"),
}

STEPS = {
    "+": {
        T: (
            "{n} now has {e} {o}.",
            "That makes {e}.",
            "So there are {e} {o}.",
            "Together that is {e} {o}.",
            "{e}",
            "After that {n} has {e}.",
            "We add: {e}.",
            "The sum is {e}.",
            "In total {e} {o}",
            "Adding gives {e}.",
            "Now the number is {e}.",
            "There are {e} of them.",
        ),
        H: (
            "Summing up we reach {e} {o}.",
            "Hence {n} holds {e} pieces.",
            "Altogether one counts {e} items.",
        ),
    },
    "-": {
        T: (
            "{n} now has {e} {o}.",
            "That leaves {e}.",
            "So {e} {o} are left.",
            "{n} has {e} left.",
            "{e}",
            "After that there are {e} {o}.",
            "We take away: {e}.",
            "The rest is {e}.",
            "There remain {e} {o}",
            "Taking away gives {e}.",
            "Now the number is {e}.",
            "Then {n} has only {e}.",
        ),
        H: (
            "Reducing the pile we keep {e} {o}.",
            "Hence {n} retains {e} pieces.",
            "What stays behind is {e}.",
        ),
    },
    "*": {
        T: (
            "That makes {e} {o}.",
            "So there are {e}.",
            "In all {n} has {e} {o}.",
            "{e}",
            "The total is {e}.",
            "We multiply: {e}.",
            "Together that is {e}",
            "Now the number is {e}.",
            "This comes to {e}.",
            "The product is {e}.",
        ),
        H: (
            "Multiplying we reach {e} {o}.",
            "Hence the whole amounts to {e}.",
            "Altogether one counts {e} items.",
        ),
    },
    "/": {
        T: (
            "Each gets {e} {o}.",
            "That makes {e} for each.",
            "So each one has {e}.",
            "{e}",
            "We divide: {e}.",
            "Every part has {e} {o}",
            "Now the number is {e}.",
            "One share is {e}.",
            "Dividing gives {e}.",
        ),
        H: (
            "A single portion amounts to {e}.",
            "Hence everyone holds {e} pieces.",
            "Splitting we reach {e} {o}.",
        ),
    },
}
REMARKS = {
    T: (
        "Let us think step by step.",
        "First we look at the numbers.",
        "Now the next step.",
        "We go on.",
        "This is what {n} has to find.",
        "So far so good.",
        "We need the number of {o}.",
        "Let me count the {o}.",
        "Next we look at what {m} does.",
        "Now we can answer.",
        "That is the answer.",
        "{n} likes {o}.",
    ),
    H: ("Here comes the reasoning.", "Consider the story of {n} calmly.", "Onwards to the following part."),
}
