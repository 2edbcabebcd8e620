"""What words mean, and the embeddings of words that have a kind."""

import numpy as np
import pytest

from segvoc.encoders.lexicon import plain_lexicon, surfaces_among, trained_lexicon
from segvoc.models.shipped import open_tiny
from segvoc.vocabulary import Vocabulary

KINDS = {
    "skier": "person", "Woman": "person", "woman in a red coat": "person", "people": "person", "red onion": "onion",
    "cherry tomatoes": "tomato", "slice of pizza": "pizza", "pair of the skis": "skis", "police cars": "car",
    "buses": "bus", "ladies": "person", "loaves": "bread", "old brick house": "house", "person": None,
    "hot dog": None, "sheep": None, "rocket": None, "dog's head": None, "herd of sheep": "sheep",
    "pile of rocks": "rock", "group of tall people": "person", "bottle of water": "bottle", "cup of coffee": "cup",
    "statue of a horse": None, "picture of a cat": None, "palm of a hand": None, "box with a dog": None, "": None,
    "of": None,
    # compounds
    "polar bear": "bear", "fire truck": "truck", "dining car": "train", "house plant": "potted plant",
    "egg plant": "eggplant", "floor lamp": "light fixture", "crab apple": "apple", "street dog": "dog",
    "road bike": "bicycle", "water buffalo": "cow", "bag of apples": "bag", "glass of wine": "glass",
    "wine glasses": "wine glass", "palm tree": "tree", "sports car": "car", "race horse": "horse", "sheep dog": "dog",
    "fishing boat": "boat", "office chair": "chair", "kitchen knife": "knife",
    "school bus": "bus", "dinner plate": "plate", "brick building": "building", "tree house": "house",
}  # fmt: skip


def test_a_phrase_says_the_color_of_a_thing() -> None:
    colors = {"red car": "red", "old grey cars": "gray", "silver sports car in the rain": "gray"}
    others = "car, black and white cat, white bread, orange juice, orange, red, red zork, man in a red coat, white man"
    for word in (*colors, *others.split(", ")):
        assert trained_lexicon().of(word).color == colors.get(word), word
        assert plain_lexicon().of(word).color is None


@pytest.mark.parametrize("word", KINDS)
def test_a_phrase_is_a_kind_of_its_noun(word: str) -> None:
    assert trained_lexicon().of(word).kind == KINDS[word] and plain_lexicon().of(word).kind is None


COMPOUNDS = """
    prairie dog, corn dog, sea horse, rocking horse, clothes horse, pommel horse, trojan horse, cable car, bumper car,
    computer mouse, wireless mouse, doll house, bird house, dog house, gingerbread house, sand castle, bouncy castle,
    wall street, toy car, toy trucks, toy train, toy boat, toy airplane, toy horse, toy soldier, paper plane,
    paper boat, paper bird, gingerbread man, snow man, chess queen, chess king, chess knights, ferris wheel,
    steering wheel, spinning wheel, water wheel, potter's wheel, roulette wheel, color wheel, stop watch, bottle cap,
    pen caps, mushroom cap, elephant trunk, flower bed, truck bed, river bed, satellite dish, petri dish, soap dish,
    butter dish, punching bag, sleeping bag, air bag, bean bag, home plate, name plate, hot plate, tectonic plate,
    star fish, jelly fish, egg cup, cooker hood, range hood, nose cone, bulldog clip, crocodile clip, butterfly valve,
    mother board, chess board, dart board, bottle neck, cave mouth, river mouth, tower crane, rock star, golf cart,
    shopping cart, baby carriage, horse shoe, brake shoe, ski lift, chair lift, water polo, car park, dog park,
    skate park, window cleaner, lamp post, goal post, palm of the hand, bird of paradise, house of cards,
    ship in a bottle, king of hearts, hot dog, sea lion, guinea pig, ladybird, ice hockey puck, coat hanger,
    sugar cane, face of a clock, hands of a clock, leg of a table, sea star, starfish, rock band, tree frog,
    snow leopard, horse chestnut, grass snake, ceiling fan, teddy bear, painting of a boat, statue of two dogs,
    photo of a man, drawing of a house, my old toy car, a red bumper car, two rocking horses
"""
"""Phrases that are no kind of what their last noun says, unlike those of `KINDS`."""


@pytest.mark.parametrize("word", [word.strip() for word in COMPOUNDS.replace("\n", " ").split(",")])
def test_a_compound_is_not_what_its_last_noun_says(word: str) -> None:
    assert trained_lexicon().of(word).kind is None and not trained_lexicon().of(word).is_surface


WHOLES = {
    "wheel": "car", "wheels": "car", "car wheel": "car", "wheels of a car": "car", "bicycle wheel": None,
    "steering wheel": None, "hood": "car", "front left door": "car", "leg": "person", "man's leg": "person",
    "leg of a man": "person", "leg of a table": None, "table leg": None, "dog's leg": None, "dog ear": None,
    "leather jacket": "person", "bicycle helmet": "person", "baseball cap": "person", "T-shirt": "person",
    "red car": None, "old person": None, "people": None, "car": None, "sky": None,
}  # fmt: skip


@pytest.mark.parametrize("word", WHOLES)
def test_parts_belong_to_their_wholes_unless_another_thing_is_named(word: str) -> None:
    assert trained_lexicon().of(word).whole == WHOLES[word]


def test_surfaces_are_what_they_are_a_kind_of_in_every_lexicon() -> None:
    surfaces = "alley, canal, driveway, cobblestone, dune, creek, lawn, swimming pool, stone wall, trees, castle, floor"
    things = "dog, street sign, wall clock, water bottle, bed, bird house, clothes, door, houses, tent, bridge, frog"
    words = Vocabulary(f"{surfaces}, {things}").words
    for lexicon in (trained_lexicon(), plain_lexicon()):
        assert [lexicon.of(word).is_surface for word in words] == [True] * 12 + [False] * 12
    known = [*trained_lexicon().kinds, *(name for names in trained_lexicon().kinds.values() for name in names)]
    assert [plain_lexicon().of(word).is_surface for word in known] == [
        trained_lexicon().of(word).is_surface for word in known
    ]
    coco = ["wall-other-merged", "floor-wood", "sky-other", "window-blind", "playing_field", "door-stuff", "rest"]
    assert surfaces_among(coco, "rest") == {0, 1, 2, 3, 4, 6}
    assert surfaces_among(["lawn, grass", "grass hopper, lawn"], None) == {0}


def test_every_kind_is_a_trained_word_and_no_name_has_two() -> None:
    lexicon = trained_lexicon()
    names = [name for others in lexicon.kinds.values() for name in others]
    assert len(names) == len(set(names)) and not set(names) & lexicon.kinds.keys()
    assert all(name == name.lower().strip() for name in (*names, *lexicon.kinds, *lexicon.surfaces))


def test_a_word_has_the_mean_of_its_embedding_and_that_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = open_tiny().encode_words
    both, (kind,) = np.asarray(encode(Vocabulary(["person", "skier"]))), encode(Vocabulary(["person"]))
    monkeypatch.setattr(encode, "lexicon", plain_lexicon())
    (alone,) = np.asarray(encode(Vocabulary(["skier"])))
    mean = alone + kind
    np.testing.assert_allclose(both[1], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_array_equal(both[0], kind)
