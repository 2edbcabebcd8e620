"""CLIP's tokenizer in the format of the library `tokenizers` gives open_clip's tokens."""

from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer

from segvoc.data.labeled_images import class_names
from segvoc.exporting.export import clip_tokenizer

ODD = (
    "fire-hydrant", "café", "naïve", "it's a dog's head", "St. John's 3rd", "traffic light (red)", "猫", "Straße",
    "ÉCLAIR", "  two   spaces ", "don't", "100%", "emoji 😀 face", "\u212bngstr\u00f6m", "İstanbul", "ﬁsh", "½ cup",
    "\u201cquoted\u201d", "dog\u2019s", "a\u00a0b", "кошка", "",
)  # fmt: skip


def test_tokens_are_open_clips() -> None:
    ours, theirs = Tokenizer.from_str(clip_tokenizer().to_str()), SimpleTokenizer()
    for text in (*ODD, *class_names("ade847"), *class_names("pc459")):
        expected = [theirs.sot_token_id, *theirs.encode(text), theirs.eot_token_id]
        assert ours.encode(text).ids == expected, text
