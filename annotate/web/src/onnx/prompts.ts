/** From words to tokens. */

import { Tokenizer } from "@huggingface/tokenizers";

import { PageError } from "../backend";
import type { Text } from "./description";

/** Prompts are padded to a multiple of this many tokens, so that few lengths occur. */
const LENGTH_STEP = 8;

/** Prompts that go through the text encoder together. */
const BATCH = 32;

export class Prompts {
  private readonly tokenizer: Tokenizer;

  constructor(
    tokenizer: object,
    private readonly text: Text,
  ) {
    this.tokenizer = new Tokenizer(tokenizer, {});
  }

  ids(prompt: string): number[] {
    return this.tokenizer.encode(prompt).ids;
  }

  /** Token ids of all prompts, (places, length), in batches of one padded length, with the prompts' places. */
  batches(prompts: readonly string[]) {
    const ids = prompts.map((prompt) => {
      const found = this.ids(prompt);
      if (found.length > this.text.max_tokens)
        throw new PageError(`The word “${prompt.slice(0, 40)}…” is too long; shorten it.`);
      return found;
    });
    const byLength = new Map<number, number[]>();
    for (const [place, { length }] of ids.entries()) {
      const stepped = Math.ceil(length / LENGTH_STEP) * LENGTH_STEP;
      const padded = this.text.whole ? this.text.max_tokens : Math.min(this.text.max_tokens, stepped);
      byLength.set(padded, [...(byLength.get(padded) ?? []), place]);
    }
    const result: { places: number[]; length: number; tokens: BigInt64Array }[] = [];
    for (const [length, all] of byLength) {
      for (let start = 0; start < all.length; start += BATCH) {
        const places = all.slice(start, start + BATCH);
        const tokens = new BigInt64Array(places.length * length).fill(BigInt(this.text.padding));
        for (const [row, place] of places.entries()) tokens.set(ids[place].map(BigInt), row * length);
        result.push({ places, length, tokens });
      }
    }
    return result;
  }
}
