"""Names and objects of the stories, apart for training and for the held-out items.

Besides the listed names both splits use random pseudo-names, built from disjoint syllables, so that a name never
trained on is the rule and not the exception.
"""

from random import Random

from .items import Split

NAMES = {
    Split.TRAIN: (
        "Tom Anna Ben Clara David Emma Frank Grace Henry Irene Jack Karen Leo Maria Nina Oscar Paula Quinn Robert Sara "
        "Tina Victor Wendy Xavier Yusuf Zoe Ahmed Bella Carlos Diana Elena Felix Gina Hugo Ivan Julia Kevin Laura Mark "
        "Nora Omar Peter Rita Sam Tara Uma Vera Will Alice Bruno Chloe Derek Ethan Fiona George Hanna Isaac James Kim "
        "Liam Mona Noah Olga Paul Rosa Simon Theo Ursula Vlad Wanda Yara Amir Betty Cyrus Dora Edgar Farah Gus Holly "
        "Igor Jenny Kofi Lila Milo Nadia Otis Priya Rafael Stella Tyler Umar Viola Walter Yoko Zane"
    ).split(),
    Split.HELD_OUT: (
        "Janet Wilhelm Octavia Marcus Penelope Tobias Imogen Rasmus Adele Bjorn Celeste Dmitri Eloise Fabian Greta "
        "Harriet Ismael Jolene Kaspar Lucinda Magnus Naomi Orlando Philippa Rhoda Sebastian Tamara Ulrich Vincent Zelda"
    ).split(),
}

SYLLABLES = {
    Split.TRAIN: (
        "ba be bo da de di fa ga go ka ke ki la le li lo ma mi mo na ne no pa po ra ri ro sa so ta to va vi"
    ).split(),
    Split.HELD_OUT: "bru cha dre fen glo hul jor kwe lyn mur nyx phe quo rul sty thu vex wem yul zor".split(),
}

OBJECTS = {
    Split.TRAIN: (
        "apples pens books coins marbles stickers cards shells eggs cookies cakes toys stamps roses tulips "
        "pencils cups "
        "plates balls bricks beads buttons candies carrots chairs chickens clips crayons dolls ducks erasers figs fish "
        "flags flowers forks grapes hats horses jars keys kites lamps leaves lemons letters magnets mangoes maps "
        "melons "
        "mugs muffins nails notebooks nuts onions oranges papers peaches pears peppers photos pies pillows pins plums "
        "posters potatoes puzzles rabbits ribbons rings rocks rulers scarves seeds sheets shirts shoes socks spoons "
        "stones straws tapes tickets tiles tomatoes towels trees turnips vases wheels whistles badges bananas baskets "
        "biscuits blankets boats bolts bottles bows bracelets bulbs cables candles cans crackers diamonds drums goats"
    ).split(),
    Split.HELD_OUT: (
        "apricots acorns compasses dominoes feathers gloves harmonicas icicles jackets lanterns mushrooms necklaces "
        "olives pinecones quilts radishes sandwiches teapots umbrellas violins walnuts zippers postcards trophies "
        "blueberries batteries helmets statues ferns lollipops"
    ).split(),
}


def name(random: Random, split: Split) -> str:
    """A listed name, or, one time in three, a pseudo-name."""
    if random.random() < 0.33:
        return pseudo_word(random, split).capitalize()
    return random.choice(NAMES[split])


def things(random: Random, split: Split) -> str:
    """A plural noun; one time in five a made-up one."""
    if random.random() < 0.2:
        return pseudo_word(random, split) + "s"
    return random.choice(OBJECTS[split])


def pseudo_word(random: Random, split: Split) -> str:
    """Two or three syllables of the split's own."""
    return "".join(random.choices(SYLLABLES[split], k=random.choice((2, 2, 3))))
