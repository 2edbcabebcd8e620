/** Regions of taught words, mixed into the words' embeddings. */

import { PageError } from "../backend";

/** Words with their prompts' embeddings: (words, prompts, channels). */
export interface Embeddings {
  readonly values: Float32Array;
  readonly words: number;
  readonly prompts: number;
  readonly channels: number;
}

/** What a word's embeddings are mixed with. */
export interface Region {
  /** Index of the word. */
  readonly index: number;
  /** A direction; 0 leaves the embeddings as they are. */
  readonly toward: Float32Array;
  /** Its share, in [0, 1). */
  readonly share: number;
}

/** Embeddings that keep their lengths, with those of some words mixed: e' = |e| unit((1 - a) unit(e) + a u). */
export function mixed(text: Embeddings, regions: readonly Region[]): Embeddings {
  const { prompts, channels } = text;
  if (regions.some(({ toward }) => toward.length !== channels))
    throw new PageError("These taught words have embeddings of another length than the model's; teach them again.");
  const values = text.values.slice();
  for (const { index, toward, share } of regions) {
    for (let prompt = 0; prompt < prompts; prompt++) {
      const own = values.subarray((index * prompts + prompt) * channels, (index * prompts + prompt + 1) * channels);
      const length = Math.hypot(...own), unit = 1 / Math.max(1e-12, length);
      const direction = Float64Array.from(own, (value, at) => (1 - share) * unit * value + share * toward[at]);
      const factor = length / Math.max(1e-12, Math.hypot(...direction));
      own.set(direction.map((value) => factor * value));
    }
  }
  return { ...text, values };
}
