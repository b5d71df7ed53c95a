"""Sentences for the voices to say. Decides what is said; nothing about how.

Three sources, none of them downloaded: everyday sentences made from the tables below (what people say to an assistant or
in a call), the prose of Python's own manual (`pydoc_data.topics`, PSF licence, only spoken, never shipped), and strings of
random dictionary words for rare sound neighbours.
"""
import random
import re
from pydoc_data.topics import topics

SLOTS = {
    "who": "my mother|your brother|Peter|Barbara|the manager|our family|someone from support|Maya|Bob|the woman in blue|everybody|nobody|the doctor|the whole team|Thomas|my best friend|Phoebe|the baby|a famous author|Victor".split("|"),
    "thing": "a big purple boat|the blue umbrella|five apples|a cup of coffee|the morning paper|this problem|a map of Europe|the wooden table|a very warm blanket|some fresh bread|the beautiful view|those old photographs|a bowl of soup|the movie|her favorite book|your password|the invoice|my phone number|a bottle of water|the whole pizza|a thumb drive|the moon|fifty pumpkins|cheap shoes|the new vacuum cleaner|a measuring cup|the zoo|both windows".split("|"),
    "did": "bought|found|wanted to see|forgot about|talked about|moved|brought|threw away|is looking for|would love to have|finally fixed|broke|described|paid for|remembered|opened|mopped up|asked me for|showed us|gave up|wrapped up|shipped|chose|watched|measured".split("|"),
    "place": "at the supermarket|in the living room|by the river|on the way home|in Boston|above the shop|near the big bridge|at the beach|behind the church|over there|in the bathroom|at the airport|upstairs|in Vienna|from the village|on the map|beneath the tree|in my opinion".split("|"),
    "when": "yesterday|last summer|before breakfast|every morning|at half past five|on Wednesday|a week ago|in February|just now|after the game|tonight|this afternoon|twice a month|on the third of July|at about eleven|in a moment|for a while".split("|"),
    "adj": "wonderful|possible|terrible|simple|funny|very important|a bit strange|beautiful|obvious|too expensive|familiar|unbelievable|perfectly fine|rather foolish|smooth|pretty good|awful|my favorite|amusing|too much|comfortable|impossible|fresh|thoughtful".split("|"),
    "act": "move the meeting|open the window|buy some flowers|pay the bill|push the button|help me with this|bring an umbrella|watch a film|choose a number|check the map|warm up the soup|wash the purple shirt|save the file|give me a moment|put it above the other one|speak up a bit|show me the way|believe in yourself|draw a fish|call my mom back".split("|"),
}
FRAMES = [
    "{who} {did} {thing} {when}.", "{who} {did} {thing} {place}.", "I think {thing} is {adj}.", "Could you please {act}?",
    "Why don't we {act} {when}?", "Hello, I'm here to help you. Would you like to {act}?", "Well, {who} said it was {adj}, but {who} {did} {thing} anyway.",
    "Oh! That's {adj}.", "Hmm, maybe we should {act}.", "{when}, {who} {did} {thing} {place}.", "If you want to {act}, {act} first.",
    "Yes, of course. I will {act} {when}.", "No, no, no. Please don't {act}.", "What do you mean, {adj}?", "You know, {thing} {place} was {adj}.",
    "Wow, {who} really {did} {thing}?", "I'm sorry, I didn't catch that. Did you say {thing}?", "Good morning! How are you doing today?",
    "Thank you so much, that was {adj}.", "Okay, let me {act}, and then you {act}.", "There are {n} people {place}, and {n} of them {did} {thing}.",
    "My number is {n}, {n}, {n}.", "Baby, maybe, {who}, purple, bubble, mom, papa.", "{who} and {who} both {did} {thing}, I believe.",
    "Feel free to {act}; it is {adj}.", "So, first of all, {act}. Second, {act}. Third, {act}.", "We moved from the farm to the room above {who}.",
    "She sells sea shells {place}, which is {adj}.", "The thing is, both of them thought {thing} was {adj}.", "Um, I'm not sure. Let me think about {thing}.",
    "Five five five, {n}, is {adj}, I suppose.", "Ooh, who would choose {thing}?", "Ah, father, the car is far from {thing}.",
]


def everyday(rng):
    frame = rng.choice(FRAMES)
    def fill(m):
        return str(rng.randint(1, 1999)) if m[1] == "n" else rng.choice(SLOTS[m[1]])
    s = re.sub(r"\{(\w+)\}", fill, frame)
    return s[0].upper() + s[1:]


def manual():
    """Sentences of the Python manual that are made of plain words."""
    found = set()
    for text in topics.values():
        for para in re.split(r"\n\s*\n", text):
            flat = " ".join(para.split())
            for s in re.split(r"(?<=[.!?])\s+", flat):
                if re.fullmatch(r"[A-Z][A-Za-z ,'-]+[.!?]", s) and 4 <= len(s.split()) <= 24:
                    found.add(s)
    return sorted(found)


def jumble(rng, words):
    picked = [rng.choice(words) for _ in range(rng.randint(4, 9))]
    if len(picked) > 6:
        picked[3] += ","
    return " ".join(picked) + rng.choice([".", ".", "?", "!"])


def sentences(count, seed, words):
    """`count` sentences: half everyday, a third from the manual, the rest jumbled words. Seeds never share manual sentences (seed parity)."""
    rng = random.Random(seed)
    prose = [s for i, s in enumerate(manual()) if (i % 10 == 0) == (seed % 2 == 1)]   # odd seeds = held-out texts
    out = []
    while len(out) < count:
        r = rng.random()
        out.append(everyday(rng) if r < 0.5 else rng.choice(prose) if r < 0.83 else jumble(rng, words))
    return out
