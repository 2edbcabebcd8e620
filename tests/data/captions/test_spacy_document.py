"""The same on a document of spaCy's own, built by hand; only where spaCy is installed."""

from importlib.util import find_spec

from segvoc.data.captions.phrases import chunks_with_nouns

if find_spec("spacy"):
    from spacy.lang.en import English
    from spacy.tokens import Doc

    def test_a_document_built_by_hand_gives_its_chunks():
        words = ["She", "rides", "a", "brown", "horse", "to", "Paris"]
        built = Doc(
            English().vocab,
            words=words,
            pos=["PRON", "VERB", "DET", "ADJ", "NOUN", "ADP", "PROPN"],
            heads=[1, 1, 4, 4, 1, 1, 5],
            deps=["nsubj", "ROOT", "det", "amod", "dobj", "prep", "pobj"],
        )
        assert [chunk.text for chunk in built.noun_chunks] == ["She", "a brown horse", "Paris"]
        assert chunks_with_nouns(built) == ["a brown horse"]
