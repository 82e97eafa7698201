"""Words and sentence templates of the reviews.

The opinion vocabulary is shared by training and held-out items: a model made from nothing cannot know a word it never
read. Topics, neutral words and sentence templates are apart.
"""

from .items import Label, Split

T, H = Split.TRAIN, Split.HELD_OUT
P, N = Label.POSITIVE, Label.NEGATIVE

ADJECTIVES = {
    P: (
        "good great excellent wonderful amazing fantastic lovely beautiful brilliant superb delightful charming "
        "pleasant nice "
        "perfect awesome terrific marvelous splendid outstanding impressive enjoyable fun funny clever smart "
        "fresh tasty "
        "delicious friendly helpful cozy comfortable elegant stunning gorgeous remarkable memorable touching "
        "moving gripping "
        "exciting thrilling engaging captivating refreshing relaxing reliable sturdy solid smooth crisp generous "
        "gentle "
        "graceful heartwarming hilarious inspiring joyful magical magnificent polished powerful satisfying sharp "
        "spectacular stylish sweet warm witty worthwhile incredible exceptional adorable fabulous flawless"
    ).split(),
    N: (
        "bad terrible awful horrible poor dull boring weak disappointing ugly nasty unpleasant annoying dreadful lousy "
        "mediocre bland stale tasteless rude unhelpful dirty uncomfortable clumsy broken cheap flimsy slow noisy "
        "confusing "
        "messy pointless predictable shallow silly stupid tedious tiresome unfunny useless worthless frustrating "
        "depressing "
        "disgusting gross greasy soggy overpriced overrated forgettable lifeless lazy careless sloppy shoddy "
        "unreliable "
        "pathetic painful miserable laughable incoherent harsh grim faulty dismal cold clunky cringeworthy atrocious "
        "appalling abysmal irritating lame mushy"
    ).split(),
}
VERBS = {
    P: (
        "loved",
        "enjoyed",
        "adored",
        "liked",
        "really liked",
        "admired",
        "treasured",
        "recommend",
        "appreciated",
    ),
    N: (
        "hated",
        "disliked",
        "despised",
        "regretted",
        "loathed",
        "detested",
        "could not stand",
        "did not like",
        "did not enjoy",
    ),
}
NOUNS = {
    P: (
        "masterpiece",
        "triumph",
        "delight",
        "gem",
        "joy",
        "treat",
        "success",
        "pleasure",
        "bargain",
        "winner",
        "treasure",
    ),
    N: (
        "disaster",
        "mess",
        "failure",
        "letdown",
        "waste of money",
        "waste of time",
        "nightmare",
        "flop",
        "rip-off",
        "insult",
        "disappointment",
        "bore",
    ),
}
DEGREES = (
    "very",
    "really",
    "so",
    "quite",
    "truly",
    "absolutely",
    "rather",
    "extremely",
    "pretty",
    "simply",
    "too",
    "most",
)
DENIALS = ("not", "never", "hardly", "not very", "not at all", "far from", "not really", "anything but")

TOPICS = {
    T: (
        "film movie plot story acting ending music cast script food soup pizza service waiter room bed hotel view "
        "staff price "
        "book writing hero dialogue phone screen battery camera sound design chair coffee tea dessert menu game "
        "level show "
        "episode song album voice concert car seat engine shirt fabric color shoe bag lamp keyboard mouse app "
        "update support "
        "delivery packaging beach tour guide breakfast dinner bread salad sauce burger cake director actor scene "
        "humor pace "
        "photography garden pool bathroom location atmosphere team class teacher lesson course trip flight crew museum"
    ).split(),
    H: (
        "novel chapter soundtrack costume steak pasta receptionist lobby balcony tablet charger speaker sofa "
        "espresso wine "
        "puzzle season melody guitar tyre jacket zipper mattress printer website courier cruise driver gallery "
        "workshop "
        "narrator villain choreography"
    ).split(),
}
NEUTRAL_WORDS = {
    T: (
        "blue red green long short wooden round big small new old second first local yellow black white tall "
        "heavy light flat "
        "open closed usual common regular daily public private early late double single medium large average normal"
    ).split(),
    H: "purple square metallic annual narrow vertical digital rectangular".split(),
}
# {t} topic, {u} another topic, {x} opinion adjective, {v} opinion verb, {w} opinion noun, {z} neutral word, {n} name
CLAUSES = {
    T: (
        "the {t} was {x}",
        "the {t} is {x}",
        "I found the {t} {x}",
        "this is a {x} {t}",
        "it has a {x} {t}",
        "the {t} seemed {x}",
        "what a {x} {t}",
        "the {t} of the {u} was {x}",
        "I think the {t} is {x}",
        "{n} called the {t} {x}",
        "such a {x} {t}",
        "everyone said the {t} was {x}",
        "with a {x} {t}",
        "the {t} looked {x}",
        "the {t} felt {x}",
        "a {x} {t}",
        "{x} {t}",
        "we had a {x} {t}",
        "there was a {x} {t}",
        "the {x} {t} stays in my mind",
        "we got {x} {t}",
        "it was {x}",
        "it is {x}",
        "my {t} is {x}",
        "our {t} was {x}",
        "the {t} here is {x}",
        "all in all a {x} {t}",
        "the {t} turned out {x}",
        "I {v} the {t}",
        "we {v} this {t}",
        "{n} {v} the {t}",
        "my friends {v} the {t}",
        "I {v} it",
        "everyone {v} the {u}",
        "the {t} was a {w}",
        "what a {w}",
        "this {t} is a {w}",
        "a real {w}",
        "it was a {w}",
        "the whole {t} is a {w}",
        "to me the {t} is {x}",
        "the {t} remains {x}",
        "honestly the {t} was {x}",
        "overall {x} {t}",
        "{n} has a {x} {t}",
        "the {t} they sell is {x}",
        "you get a {x} {t} for it",
        "I was told the {t} is {x}",
        "the {z} {t} was {x}",
    ),
    H: (
        "in my eyes that {t} appeared {x}",
        "{n} considers the {t} {x}",
        "one could describe this {t} as {x}",
        "the {t} struck us as {x}",
        "another {x} {t} awaited us",
        "critics {v} every {t}",
        "her sister {v} that {t}",
        "some would say that {t} became a {w}",
        "altogether a {w}",
        "yet the {t} proved {x}",
        "expect a {x} {t}",
    ),
}
NEUTRAL_CLAUSES = {
    T: (
        "I bought it in May",
        "we went there on Sunday",
        "the {t} is {z}",
        "it comes with a {z} {t}",
        "the {t} has a {z} {u}",
        "{n} told me about the {t}",
        "we paid for the {t} at noon",
        "the {t} is next to the {u}",
        "it took two hours",
        "{n} and I saw the {t}",
        "the {t} was {z}",
        "this is a {z} {t}",
        "I have a {z} {t}",
        "the {t} is not {z}",
        "they changed the {t} last year",
        "it was my second visit",
        "the {t} is about a {z} {u}",
        "we ordered the {t}",
        "I will write about the {u} later",
        "{n} works there",
        "the {t} came on Monday",
        "my {t} is {z}",
        "we sat near the {u}",
        "there is also a {t}",
        "it was {z}",
        "I read about the {t} online",
        "the {t} starts at nine",
    ),
    H: (
        "a colleague lent us the {t}",
        "that {t} appears {z}",
        "{n} photographed the {u} twice",
        "the parcel contained a {z} {t}",
        "our train left before the {t} began",
        "somebody moved the {u} upstairs",
    ),
}
PROMPTS = {
    T: (
        "",
        "",
        "",
        "Write a review of the {t}.",
        "What do you think of the {t}?",
        "Review:",
        "Tell me about the {t}.",
        "The {t} was {x}.",
        "I {v} the {t}.",
        "How was it?",
        "Say something about your {t}.",
        "This {t} is",
    ),
    H: ("", "Describe your impression of this {t}.", "Was the {t} {x}?", "Give feedback concerning the {t}:"),
}
JOINTS = (". ", ". ", ". ", ", but ", " and ", ", and ", "; ", "! ", " although ", ".\n", ", while ", "... ")
