"""English word lists for the noun phrase rules: the closed word classes, and words that are common in captions."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARTICLES = _words("a an the")

NUMBERS = _words(
    "dozen eight eighteen eighty eleven fifteen fifty five forty four fourteen hundred million nine nineteen ninety "
    "one seven seventeen seventy six sixteen sixty ten thirteen thirty thousand three twelve twenty two zero"
)

DETERMINERS = (
    ARTICLES
    | NUMBERS
    | _words(
        "all another any both each either enough every few half her his its many more most much my neither no our "
        "several some such that their these this those what whose your"
    )
)
"""Words at the start of a noun phrase that say which or how many."""

POINTERS = _words("that these this those")
"""Determiners that are also pronouns: "this shows a dog", "a man that rides"."""

PRONOUNS = _words(
    "anyone anything everybody everyone everything he here hers herself him himself how i it itself me mine "
    "myself nobody nothing others she somebody someone something theirs them themselves there they us we when "
    "where which while who whom why you yourself"
)

PREPOSITIONS = _words(
    "aboard about above across after against along alongside amid amidst among amongst apart around as at atop "
    "before behind below beneath beside besides between beyond by despite down during except for from in "
    "including inside into like near next of off on onto opposite out outside over past per since than through "
    "throughout till to toward towards under underneath unlike until up upon via with within without worth"
)

CONJUNCTIONS = _words("& although and because but et if nor or plus so though unless whether yet")

JOINING = _words("& and or")

AUXILIARIES = _words(
    "am are aren't be been being can can't could did didn't do does doesn't doing don't done had has have having "
    "he's is isn't it's may might must shall she's should that's there's they're was wasn't were weren't will "
    "won't would"
)

ADVERBS = _words(
    "abroad afterward afterwards again ago ahead alike almost aloft alone already also always anywhere apart "
    "aside away backward backwards downward downwards else even everywhere forward forwards halfway indoors "
    "instead inward just later maybe nearby nearly never not now often once only outdoors outward overhead "
    "perhaps rather sideways sometimes somewhere soon still then today together too twice upside upside-down "
    "upward upwards well"
)

INTENSIFIERS = _words("extremely fairly pretty quite really somewhat super very")
"""Adverbs inside a noun phrase: "a very large dog"."""

NOT_ADVERBS = _words(
    "ally anomaly assembly belly bubbly bully burly butterfly chilly costly cuddly curly daily deadly doily dolly "
    "dragonfly early elderly family fatherly firefly fluffily fly friendly frilly ghostly gnarly hilly holly holy "
    "housefly italy jelly july likely lily lively lonely lovely monopoly monthly motherly only ply potbelly "
    "prickly rally scaly silly smelly trolley ugly weekly wily wobbly woolly wrinkly yearly"
)

COLORS = _words(
    "beige black blue brown burgundy cream crimson gold golden gray green grey lavender magenta maroon navy "
    "orange pink purple red silver tan teal turquoise violet white yellow"
)

ADJECTIVES = (COLORS - _words("cream gold lavender navy orange silver violet")) | _words(
    "able adorable afraid african alive amateur american ancient angry antique asian asleep available awake aware "
    "back bad bald bare barefoot bearded beautiful best better big bitter blank blond blonde brave bright british "
    "brunette bushy busy calm central certain cheap chinese clean clever close cloudy cold colorful colourful "
    "commercial common complete cooked cool correct cramped creamy crispy crooked crowded crunchy curious curly "
    "curvy cute damp dangerous dark dead deep delicious dense different digital dim dirty distant double dry due "
    "dull dusty early elder elderly electric electronic elegant empty english enormous entire european expensive "
    "fake false famous fancy far fast fat female filthy final fine first flat fluffy foggy foreign french fresh "
    "friendly front frosty frozen full funny furry fuzzy gentle german giant golden good gorgeous gouged grand "
    "grassy great greek hairy happy hard healthy heavy high historic historical hollow hot huge human hungry icy "
    "important indian individual indoor industrial inner interesting involved italian japanese juicy korean large "
    "large-sized last late lazy leafy least left less life-sized light lit little local lone lonely long loose "
    "loud lovely low lower lush main male many massive medical medium messy metallic mexican mid-sized middle "
    "military misty modern more most much muddy multiple naked narrow near neat new next nice normal nude "
    "numerous odd old older open ornate other outdoor outer overhead oversized own pale partial peaceful personal "
    "plain playful political poor powerful pregnant pretty previous private professional proud public quick quiet "
    "rainy rare raw ready real recent regular religious residential rich right ripe rocky roman roomy rough round "
    "royal rural russian rustic rusty sad safe salty same sandy scary second separate several shabby shallow "
    "sharp shiny shirtless short silly similar simple single skinny sleepy slim slow small smart smooth snowy "
    "soft sole solid sour spacious spanish sparse special spicy spotty square stainless steep stormy straight "
    "strange striped stripey stripy strong such sunny sweet tall tame tasty thick thin third thirsty tibetan tidy "
    "tight tiny tired top-down topless traditional tropical true typical ugly unable unique unlit unusual upper "
    "upright urban usual various vast verdant very vintage visible vivid warm weak weird wet whole wide wild "
    "windy wooden woolen woollen woolly worst wrong young younger"
) - _words("back blond blonde brunette double female front human left light male medium public right round square")
"""Words that are only adjectives. Those that are also nouns ("an orange", "the light") are left out."""

ADJECTIVE_ENDINGS = ("ful", "ous", "less", "able", "ible", "ish", "like", "-in", "-up", "-down", "-on")
NOT_ADJECTIVES = _words(
    "add-on armful asparagus bible bus cable cactus campus catfish check-in circus citrus close-up collectible "
    "constable convertible crucible dish drive-in fable finish fish goldfish handful hippopotamus house hummus "
    "jellyfish line-up make-up mouse mouthful octopus polish pull-up push-up radish relish roundtable rubbish "
    "spoonful stable starfish swordfish table timetable vegetable virus walrus"
)

NOUNS_IN_ING = _words(
    "anything awning bearing bedding bling building buildings carpeting carving ceiling ceilings clothing coating "
    "covering crossing darling drawing dressing duckling dumpling earring engraving etching evening everything "
    "fencing filling fitting fling flooring frosting furnishing gathering greeting herring icing king landing "
    "legging lighting lining marking meeting molding morning moulding nothing offspring onion-ring opening outing "
    "padding painting paintings paneling panelling parking piercing plumbing pudding railing ring roofing sapling "
    "scaffolding seating setting shelving sibling siding sling something spring stocking string stuffing "
    "surroundings swing thing topping tubing upholstery wedding wing wiring wrapping"
)
"""Nouns that look like present participles."""

GERUND_PAIRS = re.compile(
    r"(cooking|cleaning|serving|measuring|mixing|baking|frying|eating|drinking) "
    r"(utensils?|machines?|pots?|pans?|area|tools?|supplies|appliances|equipment|station|dish|dishes|trays?|bowls?|"
    r"cups?|sheets?|spoons?|gear|fountain|glass|glasses|class|oil|products?|pin)|"
    r"(dining|living|sitting|seating|waiting|drawing|meeting|dressing|changing|reading|shopping|eating|parking) "
    r"(rooms?|areas?|tables?|halls?|sets?|chairs?|spaces?|lots?|meters?|garages?|spots?|carts?|bags?|centers?|centres?|"
    r"malls?|lamps?|glasses|sections?|decks?)|"
    r"(swimming|wading) (pools?|trunks|suits?)|(washing|sewing|vending|slot|dish-washing) (machines?|stations?)|"
    r"washing station|cutting boards?|sleeping bags?|rolling pins?|skating rink|skating park|"
    r"(fishing|racing|sailing|rowing|moving) (boats?|poles?|rods?|nets?|bikes?|cars?|ships?|vans?|trucks?)|"
    r"(hiking|walking|riding|running|biking|cycling|skiing|jogging) (trails?|paths?|gear|boots?|shoes?|sticks?|tracks?|"
    r"lanes?|helmets?|clothes|outfits?|poles?|hats?)|"
    r"(crossing|landing|loading|boarding|launching) (signs?|signals?|gear|strips?|docks?|gates?|bridges?|guards?)|"
    r"wrapping paper|training wheels|rocking (chairs?|horses?)|folding chairs?|carving (boards?|kni\w+)|"
    r"baking soda|chewing gum|whipping cream|steering wheels?|sewing kit|playing (cards?|fields?)|ironing boards?"
)
"""A gerund and its noun, which form a phrase in any position."""

NOUNS_IN_ED = _words(
    "airbed bed biped birdseed bobsled breed bunkbed daybed deed feed flatbed flowerbed greed hundred kindred "
    "moped naked need reed riverbed sacred seabed seaweed seed shed sled speed steed thoroughbred tumbleweed "
    "tweed watershed weed wicked"
)
"""Nouns and adjectives that look like past participles."""

PARTICIPLES = _words(
    "beaten bent bitten blown bought broken brought built burnt caught chosen cut drawn driven eaten fallen flown "
    "found frozen given gone grown handheld handmade held hidden homemade hung kept knit known laid left lit lost "
    "made overgrown put run-down sat seen sewn shaven shown sliced sold spilt split spread stolen stood strewn "
    "stuck sunken swept taken thrown told torn unmade worn woven written"
)

PASTS = _words(
    "ate began bit came drank drove fell flew gave got grew hid hit knew lay ran rode rose sang saw shook spoke "
    "stole swam threw took went woke wore wrote"
)

STRONG_VERBS = _words(
    "act add adjust adorn appear approach arrive ascend ask attach attack attempt bake bat bathe become beg begin "
    "belong bend bike bite block bloom blow board bowl bring browse brush build burn buy call camp carry catch "
    "celebrate charge chase check chew chop climb cling close come compete connect consider consist contain "
    "contemplate continue cook cover crash cross crouch cuddle cut cycle dance decide decorate deliver depict "
    "descend dine discover display dive divide do dribble drink drive drop dry dwell eat enjoy enter examine "
    "exist explore extend face fall fasten feast feature feed fight fill find fish fix flip float flow fly follow "
    "forage gather gaze gesture get give glide glow go grab graze greet grind groom grow guard guide hang haul "
    "have help hike hit hold hope hug hunt include inhabit inhale inspect intend jog join jump keep kick kiss "
    "kneel know land laugh lay lead leak lean learn leave let lick lie lift like line listen live load look "
    "lounge love lower make maneuver march mark melt mingle mix move nap navigate need notice occupy open "
    "overlook paddle paint parade park pass peer perch perform pick pitch plan play point pose pour prepare "
    "pretend protect pull push put race raise reach read reflect relax remain remove repair rest ride rise roam "
    "run sail say score search see seek seem sell separate serve share shine shoot shout show shower sing sip sit "
    "skate skateboard ski sleep slice slide smile sniff snowboard snuggle soar speak speed spill squat stand "
    "stare start stay stick stop stretch strike stroll study surf surround swat swim swing take talk teach tell "
    "tend text think throw tie toss touch tow transport travel try turn type unload use wade wait walk wander "
    "want wash watch wave wear work wrap wrestle write yell zip zoom"
)

ALSO_NOUNS = _words(
    "bank bat bike bloom board bowl box brush call camp check chop clip cook cover cross cut display drink drop "
    "fan fish groom guard guide hook kid land lead leave light line lock mark pack paint park plan plant point "
    "rest saddle sail show shower skate ski slice slide spray stack stand stick strap swing text tie train type watch "
    "water wave wrap"
)
"""Verbs that are as often nouns: where a noun may stand, their forms in -s count as plural nouns."""


AGENTS = _words(
    "athlete baby batter bear bicyclist biker bird boy bride cat catcher chef child couple cow crowd cyclist dog "
    "driver duck elephant employee family gentleman giraffe girl groom guy horse kid kitten lady man monkey "
    "officer person pigeon pitcher player policeman puppy rider sheep skateboarder skater skier snowboarder "
    "student surfer team toddler woman worker zebra"
)
"""Nouns that can be the subject of a verb of action: "a chef slices onions", but "the bread slices"."""


def _third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"


VERBS = STRONG_VERBS | ALSO_NOUNS
THIRD_PERSONS = {_third_person(verb): verb for verb in sorted(VERBS)}
"""Third person singular present -> base form."""

IRREGULAR_PLURALS = _words(
    "businessmen cattle children deer feet firemen fish fishermen geese gentlemen kids men mice oxen people "
    "police policemen salmon sheep snowmen sportsmen teeth wolves women"
)

QUANTITIES = _words(
    "amount amounts array assortment bunch collection couple dozen dozens group groups handful hundreds loads lot "
    "lots multitude number pair pairs plenty remainder rest selection series set thousands tons variety"
)
"""Before "of": nouns that say how much or how many."""

PLACES = _words(
    "back background base bottom center centre corner edge end foot foreground front inside left middle midst "
    "outside process rear right side sides top underside"
)
"""Between a preposition and "of": nouns of compound prepositions ("on top of", "in the middle of")."""

COMPOUND_MODIFIERS = frozenset(
    tuple(pair.split())
    for pair in (
        "walk in,stand up,pick up,run down,built in,see through,beat up,worn out,drive in,hand held,blown up,made up,"
        "drive through,walk up,dressed up,grown up,sit down,pull out,roll up,left over,lace up,zip up"
    ).split(",")
)
"""Word pairs that are an adjective before a noun: "a walk in shower"."""
