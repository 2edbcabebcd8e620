"""Write the words that are single tokens of CLIP's vocabulary, from open_clip's tokenizer.

Usage: python tools/make_clip_words.py
"""

from open_clip.tokenizer import SimpleTokenizer

from segvoc.encoders.word_encoder import WORDS_FILE

END_OF_WORD = "</w>"


def clip_words() -> list[str]:
    """All words that the tokenizer encodes as one token, sorted."""
    tokenizer = SimpleTokenizer()
    found = set()
    for token in tokenizer.encoder:
        if token.endswith(END_OF_WORD):
            try:
                word = bytearray(tokenizer.byte_decoder[char] for char in token.removesuffix(END_OF_WORD)).decode()
            except UnicodeDecodeError:
                continue  # a part of a letter
            if word == "".join(word.split()) and len(tokenizer.encode(word)) == 1:
                found.add(word)
    return sorted(found)


def main() -> None:
    """Write the list into the package."""
    WORDS_FILE.write_text("".join(f"{word}\n" for word in clip_words()), encoding="utf-8")


if __name__ == "__main__":
    main()
