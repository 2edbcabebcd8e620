/** Teaches words to the model of the page from labeled images, as `segvoc teach` does. */

import { PageError, type Improved, type LabelMap, type Pixels } from "../backend";
import { NONE } from "../labels/labeling";
import type { FeatureMap } from "../onnx/feature_maps";
import { mixed, type Embeddings } from "../onnx/regions";
import { meanFeatures } from "../onnx/teaching";
import { cellsPerImage, counts, joinedCells, sampledCells, type Cells, type Logits } from "./cells";
import { fitsOf, heldOutParts, learn, SEED, type Learned } from "./learning";
import type { Pause } from "./pause";
import { Random } from "./random";
import { writtenTaughtFile } from "./taught_file";
import { mixes, regionsOf, regionsToMix, SHARES, towardExamples, type WordRegions } from "./word_regions";

/** Labeled images; they are read one at a time. */
export interface LabeledImages {
  readonly words: readonly string[];
  readonly synonyms: "first" | "average";
  readonly count: number;
  /** An image, and the index of each pixel's word. */
  read(index: number): Promise<{ readonly image: Pixels; readonly labels: LabelMap }>;
}

/** What a model sees in an image. */
export interface Look {
  /** The features that classifiers read. */
  readonly maps: readonly FeatureMap[];
  /** The maps that are compared with words; the names of all. */
  readonly compared: readonly FeatureMap[];
  readonly names: readonly string[];
  /** Logits of all words. */
  compare(text: Embeddings): Promise<Logits>;
}

/** A model that words can be taught to. */
export interface TeachableModel {
  readonly name: string;
  embedded(words: readonly string[], synonyms: "first" | "average"): Promise<Embeddings>;
  /** Look at an image as taught words are measured, which is one view of a size of its own. */
  look(image: Pixels): Promise<Look>;
  /** The features of the drawn image by which taught words recognize their model. */
  probe(): Promise<readonly FeatureMap[]>;
}

/** What is done ("reading images"), how many of it, and how many there are. */
export type OnStep = (stage: Stage, done: number, total: number) => void;
export type Stage = "finding regions" | "reading images" | "learning words";

/**
 * Learn words from labeled images.
 *
 * @throws PageError fewer than two images or words have labels.
 */
export async function teach(model: TeachableModel, images: LabeledImages, onStep: OnStep, pause: Pause): Promise<Improved> {
  const probed = await model.probe();
  const seen = new Seen(model, images, await model.embedded(images.words, images.synonyms), onStep, pause);
  const regions = await seen.regions();
  const found = await seen.cells(regions);
  if (!found.length) throw new PageError("None of these images has a labeled pixel; label some of them first.");
  const cells = joinedCells(found);
  const parts = heldOutParts(regions.size ? [...regions.keys()] : cells.images);
  const fits = fitsOf(cells, parts);
  let done = 0;
  const examples = { cells, words: images.words, pixels: seen.pixels, images: seen.shown, parts };
  const learned = await learn(examples, pause, () => onStep("learning words", ++done, fits));
  onStep("learning words", fits, fits);
  const { words, before, after, penalty, share } = learned;
  const record = {
    model: model.name,
    words,
    channels: Object.fromEntries(probed.map(({ name, channels }) => [name, channels])),
    images: found.length,
    penalty: [penalty.weights, penalty.bias] as const,
    before,
    after,
    share: [0, ...SHARES][share],
  };
  const toward = share ? towardExamples([...regions.values()], seen.text) : null;
  const arrays = { ...arraysOf(learned, toward, seen.text.channels), probe: Float32Array.from(meanFeatures(probed)) };
  return { content: writtenTaughtFile(record, arrays), images: found.length, words, before, after };
}

/** The arrays of a file: weights on standardized features, in place of those on components. */
function arraysOf({ components, classifiers }: Learned, toward: WordRegions | null, channels: number) {
  const { mean, scale, basis, count } = components;
  const { words, weights, size } = classifiers;
  const found = new Float32Array(words.length * mean.length);
  for (let word = 0; word < words.length; word++) {
    const sums = new Float64Array(mean.length);
    for (let component = 0; component < count; component++) {
      const weight = weights[word * size + component];
      for (let at = 0, from = component * mean.length; at < mean.length; at++, from++) sums[at] += weight * basis[from];
    }
    found.set(sums, word * mean.length);
  }
  const nothing = new Float64Array(channels);
  return {
    weights: found,
    bias: Float32Array.from(words, (_, word) => weights[(word + 1) * size - 1]),
    mean,
    scale,
    toward: toward && Float32Array.from(words.flatMap((word) => [...(toward.get(word) ?? nothing)])),
  };
}

/** Labeled images as a model sees them. */
class Seen {
  /** Labeled pixels of each word, and images that show it. */
  readonly pixels: Float64Array;
  readonly shown: Float64Array;

  constructor(
    private readonly model: TeachableModel,
    private readonly images: LabeledImages,
    readonly text: Embeddings,
    private readonly onStep: OnStep,
    private readonly pause: Pause,
  ) {
    this.pixels = new Float64Array(images.words.length);
    this.shown = new Float64Array(images.words.length);
  }

  /** The regions of each labeled image, if the network can be shown them; else none. */
  async regions(): Promise<ReadonlyMap<number, WordRegions>> {
    const found = new Map<number, WordRegions>(), { count } = this.images;
    for (let index = 0; index < count; index++) {
      await this.pause();
      const { image, labels } = await this.images.read(index);
      if (labels.labels.some((label) => label !== NONE)) {
        const { names, compared } = await this.model.look(image);
        if (!mixes(names, count)) return new Map();
        found.set(index, regionsOf(compared, labels));
      }
      this.onStep("finding regions", index + 1, count);
    }
    return found;
  }

  /** Labeled cells of each image; the images' own part has no say in the regions that are mixed in. */
  async cells(regions: ReadonlyMap<number, WordRegions>): Promise<Cells[]> {
    const random = new Random(SEED), { count, words } = this.images;
    const texts = this.mixedTexts(regions);
    const kept: Cells[] = [];
    for (let index = 0; index < count; index++) {
      await this.pause();
      const { image, labels } = await this.images.read(index);
      const known = labels.labels.filter((label) => label !== NONE);
      if (known.length) {
        const look = await this.model.look(image);
        const logits: Logits[] = [];
        for (const text of [this.text, ...(texts.get(index) ?? [])]) logits.push(await look.compare(text));
        const cells = sampledCells(look.maps, logits[0], logits.slice(1), labels, index, cellsPerImage(count), random);
        if (cells) {
          kept.push(cells);
          for (const [word, pixels] of counts(known, words.length).entries()) {
            this.pixels[word] += pixels;
            this.shown[word] += Number(pixels > 0);
          }
        }
      }
      this.onStep("reading images", index + 1, count);
    }
    return kept;
  }

  /** For each image, the words' embeddings with each share of the regions in images of other parts. */
  private mixedTexts(regions: ReadonlyMap<number, WordRegions>): ReadonlyMap<number, readonly Embeddings[]> {
    const found = new Map<number, readonly Embeddings[]>();
    for (const part of regions.size ? heldOutParts([...regions.keys()]) : []) {
      const others = [...regions].filter(([index]) => !part.includes(index)).map(([, one]) => one);
      const toward = towardExamples(others, this.text);
      const texts = SHARES.map((share) => mixed(this.text, regionsToMix(toward, share)));
      for (const index of part) found.set(index, texts);
    }
    return found;
  }
}
