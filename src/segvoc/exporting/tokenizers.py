"""Tokenizers of the text encoders as files that the library `tokenizers` reads, in Python and in other languages."""

from functools import cache
from pathlib import Path
from typing import cast

from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""The pieces of a text in which CLIP's tokenizer looks for byte pairs (OpenAI's clip/simple_tokenizer.py)."""


PLAIN = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'} | {
    "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
}  # fmt: skip
"""Quotation marks and ligatures that open_clip's tokenizer writes plainly (by ftfy)."""


@cache
def clip_tokenizer() -> Tokenizer:
    """CLIP's tokenizer: lower case, byte pairs with an end-of-word mark, and the start and end of the text.

    open_clip's own also repairs wrongly decoded text and HTML entities, which this one takes literally.
    """
    original = SimpleTokenizer()
    merges = cast(list[tuple[str, str]], sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__))
    tokenizer = Tokenizer(
        models.BPE(vocab=dict(original.encoder), merges=merges, end_of_word_suffix="</w>", fuse_unk=False)
    )
    plain = [normalizers.Replace(mark, to) for mark, to in PLAIN.items()]
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *plain, spaces, normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = ((original.decoder[token], token) for token in (original.sot_token_id, original.eot_token_id))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start[0]} $A {end[0]}", special_tokens=[start, end]
    )
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write a tokenizer as JSON."""
    path.write_text(tokenizer.to_str(), encoding="utf-8")
