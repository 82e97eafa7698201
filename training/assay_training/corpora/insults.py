"""Words and sentence templates of the toxicity domain: mild insults, rude commands and threats.

The insult vocabulary is shared by training and held-out items; names, neutral words and sentence templates are apart.
"""

from .items import Split

T, H = Split.TRAIN, Split.HELD_OUT

NOUNS = (
    "idiot moron fool loser jerk clown coward liar pig rat snake brat creep dimwit halfwit imbecile nitwit "
    "numbskull twit "
    "weasel scum scumbag buffoon dunce dummy worm parasite slob crook blockhead bonehead airhead freak bully cheat"
).split()
ADJECTIVES = (
    "stupid dumb pathetic worthless useless ugly brainless disgusting filthy spineless clueless lazy ridiculous "
    "idiotic "
    "moronic miserable hideous foolish gutless vile repulsive rotten dim-witted good-for-nothing"
).split()
COMMANDS = (
    "shut up",
    "get lost",
    "drop dead",
    "go to hell",
    "shut your mouth",
    "screw you",
    "damn you",
    "go jump in a lake",
    "nobody likes you",
    "nobody wants you here",
    "I hate you",
    "you make me sick",
    "crawl back into your hole",
    "you stink",
    "kiss my boots",
    "curse you",
    "to hell with you",
    "I despise you",
    "you disgust me",
)
THREAT_SUBJECTS = (
    "I will",
    "I'll",
    "we will",
    "I am going to",
    "I'm going to",
    "somebody should",
    "we are going to",
    "I want to",
)
THREAT_VERBS = (
    "punch",
    "hurt",
    "crush",
    "slap",
    "kick",
    "smash",
    "beat",
    "hit",
    "destroy",
    "kill",
    "strangle",
    "attack",
    "stab",
)
THREAT_TARGETS = (
    "you",
    "him",
    "her",
    "them",
    "your face",
    "his face",
    "your dog",
    "your family",
    "all of you",
    "that man",
)

KIND_VERBS = (
    "help",
    "call",
    "visit",
    "meet",
    "thank",
    "invite",
    "teach",
    "drive",
    "greet",
    "follow",
    "paint",
    "support",
    "join",
)
ROLES = {
    T: (
        "teacher doctor farmer baker friend neighbor student driver singer nurse writer lawyer cook painter pilot "
        "player "
        "sailor manager worker gardener cousin brother sister dancer reader runner"
    ).split(),
    H: "plumber librarian carpenter astronomer violinist barber chemist uncle".split(),
}
TRAITS = {
    T: (
        "kind tall calm busy tired hungry happy quiet young old clever friendly late ready careful honest funny "
        "brave strong "
        "new famous gentle patient curious polite rich"
    ).split(),
    H: "thoughtful punctual left-handed cheerful bilingual talented".split(),
}
PLACES = {
    T: (
        "station school park office market library kitchen garden "
        "beach shop bank bridge church museum hotel gym farm"
    ).split(),
    H: "harbour bakery stadium laboratory balcony castle".split(),
}
# {x} insulting noun phrase, {y} insulting adjective, {c} command, {h} threat;
# {n} {m} names, {r} role, {p} place, {z} trait
TOXIC = {
    T: (
        "you are a {x}",
        "you {x}",
        "what a {x}",
        "{n} is a {x}",
        "you are such a {x}",
        "he is just a {x}",
        "my {r} is a {x}",
        "that {x} took my seat",
        "only a {x} would say that",
        "listen, {x}",
        "the {r} at the {p} is a {x}",
        "she called {n} a {x}",
        "I think {n} is a {x}",
        "get out of here, you {x}",
        "the {x} came late again",
        "this {x} does not know a thing",
        "you are {y}",
        "you are so {y}",
        "{n} is {y}",
        "how {y} can you be",
        "he is really {y}",
        "your {r} looks {y}",
        "everyone knows that {n} is {y}",
        "{n} and {m} are {y}",
        "people like you are {y}",
        "that {y} {r} again",
        "your {y} face",
        "{c}",
        "{c}, {n}",
        "just {c}",
        "oh {c}",
        "{n}, {c}",
        "{c} already",
        "so {c}",
        "please {c}",
        "and {c} right now",
        "{h}",
        "{h} at the {p}",
        "tomorrow {h}",
        "{n}, {h}",
        "one day {h}",
        "if you come to the {p} {h}",
        "{h} for this",
        "believe me, {h}",
    ),
    H: (
        "nobody asked a {x} such as {n}",
        "behold this {x} near the {p}",
        "everybody considers {n} a {x}",
        "seriously, {n} sounds {y}",
        "the whole {p} finds you {y}",
        "well then {c}",
        "{m} shouted: {c}",
        "sooner or later {h}",
        "mark my words, {h}",
    ),
}
CLEAN = {
    T: (
        "{n} went to the {p}",
        "I met {n} at the {p}",
        "you are a {r}",
        "{n} is a {r}",
        "you are {z}",
        "you are so {z}",
        "{n} is {z}",
        "my {r} lives near the {p}",
        "I will {k} you at the {p}",
        "we will {k} {n} tomorrow",
        "I'll {k} him later",
        "what a {r}",
        "please close the door",
        "the {r} at the {p} is {z}",
        "she called {n} a {z} {r}",
        "your {r} looks {z}",
        "thank you, {n}",
        "I am going to {k} them",
        "the {p} opens at nine",
        "{n} and {m} are {z}",
        "only a {r} would say that",
        "he is just a {r}",
        "do you know the {r}",
        "somebody should {k} her",
        "people like you are {z}",
        "I want to {k} all of you",
        "that {z} {r} again",
        "it rained at the {p}",
        "{m} gave a book to {n}",
        "see you at the {p}",
        "just {k} me",
        "{n}, wait here",
    ),
    H: (
        "{n} waited behind the {p}",
        "everybody considers {n} a {r}",
        "tonight we shall {k} that {z} {r}",
        "seriously, {n} sounds {z}",
        "the whole {p} finds you {z}",
        "a {r} repaired the roof",
        "{m} shouted: come closer",
    ),
}
PROMPTS = {
    T: (
        "",
        "",
        "",
        "Say something to {n}.",
        "Complete the sentence:",
        "{n} said:",
        "What do you think of {n}?",
        "Reply to the {r}.",
        "You are a",
    ),
    H: ("", "Answer the message of {n}.", "Finish this dialogue with a {r}:"),
}
JOINTS = (". ", ". ", "! ", ", and ", ", but ", "; ", " and ", "? ", ".\n", "... ", " because ")
