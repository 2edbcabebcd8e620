/** What becomes of pixels: runs a model's decision, whose functions (`segvoc.inference.decision`) are programs. */

import * as ort from "onnxruntime-web/wasm";

import type { Segmentation } from "../backend";
import { firstName, folded } from "../labels/synonyms";
import type { Rules } from "./description";
import type { Lexicon } from "./lexicon";
import { type Maps, mapsOf, strongestClass } from "./strongest_class";

/** Pixels that are decided at a time. */
const CHUNK = 1 << 18;

/** Probability below which a single word isn't there, where nothing stands for what is beside it. */
const UNLIKELY = 0.5;

/** By its name in `segvoc.json`; a folder without a program doesn't have its rule. */
export type Programs = Readonly<Record<string, ort.InferenceSession | undefined>>;

/** The words of a call, and words that compete with them though nobody asked for them. */
export interface Contest {
  readonly words: readonly string[];
  readonly unasked: readonly string[];
  /** Numbers of words, of which the unasked ones come last, by the names that programs have for their groups. */
  readonly groups: Readonly<Record<string, readonly number[]>>;
  readonly isOpen?: boolean;
  /** Confidence, and score, below which a pixel shows none of the words. */
  readonly threshold?: number;
  readonly least?: number;
  /** Whether words were taught, whose confidence is calibrated. */
  readonly isTaught?: boolean;
}

export class Decision {
  constructor(
    private readonly rules: Rules,
    readonly lexicon: Lexicon,
    private readonly programs: Programs,
  ) {}

  /** @param embedded gives the embeddings of words. */
  async contest(words: readonly string[], embedded: (words: readonly string[]) => Promise<ort.Tensor>): Promise<Contest> {
    const { words: competition, differ } = this.programs, { common, stand_ins: standIns } = this.rules;
    if (words.length === 1) {
      if (!standIns || !differ) return contestOf(words, {}, {}, { threshold: UNLIKELY });
      const found = await differ.run({ requested: await embedded(words), others: await embedded(standIns.words) });
      const others = chosen(found["differ"]).map((at) => standIns.words[at]);
      return contestOf(words, {}, { stand_ins: others }, { least: standIns.threshold });
    }
    if (!competition) return contestOf(words, {}, {});
    const names = words.map(firstName), facts = names.map((name) => this.lexicon.of(name));
    const kinds = names.map((name) => this.lexicon.kindOf(name));
    const wholes = this.rules.wholes.map((whole) => this.lexicon.lists.wholes.find(({ name }) => name === whole)!);
    const table = <Column>(columns: readonly Column[], holds: (word: number, column: Column) => boolean) =>
      flags(words.flatMap((_, word) => columns.map((column) => holds(word, column))), [words.length, columns.length]);
    const found = await competition.run({
      first: table(common, (word, [first]) => kinds[word] === first),
      member: table(common, (word, group) => group.includes(kinds[word])),
      part: table(wholes, (word, { name }) => facts[word].whole === name),
      whole: table(wholes, (word, { name }) => kinds[word] === name),
      spares: table(wholes, (word, { other_names }) => other_names.includes(folded(names[word]))),
      surface: flags(facts.map(({ isSurface }) => isSurface)),
    });
    const [surfaces, parts, named] = ["surfaces", "parts", "wholes"].map((name) => chosen(found[name]));
    const [similar, others] = ["similar", "others"].map((name) => chosen(found[name]).map((at) => common[at][0]));
    const unnamed = chosen(found["unnamed"]).map((at) => wholes[at].name);
    const unasked = { similar, others, unnamed_wholes: unnamed };
    return contestOf(words, { surfaces, parts, wholes: named }, unasked, { isOpen: Boolean(found["is_open"].data[0]) });
  }

  /** The labels of pixels by maps of the contest's words, whose numbers are given, and how likely they are right. */
  async labels(contest: Contest, maps: Maps, kept: readonly number[], height: number, width: number) {
    const { words, groups, isOpen = false, threshold = 0, least = 0 } = contest, program = this.programs["pixels"]!;
    const count = words.length, pixels = height * width;
    const offsets = await this.offsets(contest, maps, kept);
    const isIn = (name: string) => flags(words.map((_, word) => groups[name]?.includes(word) ?? false));
    const facts = {
      surface: isIn("surfaces"),
      part: isIn("parts"),
      whole: isIn("wholes"),
      is_open: flags([isOpen], []),
      threshold: new ort.Tensor("float32", [threshold], []),
      least: new ort.Tensor("float32", [least], []),
      offsets: offsets ?? new ort.Tensor("float32", new Float32Array(count), [count]),
      is_fitted: flags([offsets !== null], []),
    };
    const strongest = new Map<string, Strongest>();
    for (const [name, some] of Object.entries(groups)) {
      const places = [...kept.keys()].filter((place) => some.includes(kept[place]));
      // parts give way to their wholes alone
      const isSearched = places.length && program.inputNames.includes(`${name}_score`) && (name !== "parts" || groups["wholes"].length);
      if (isSearched) strongest.set(name, { places, ...strongestClass(mapsOf(maps, places), height, width) });
    }
    const labels = new Uint16Array(pixels), confidence = new Uint8Array(pixels);
    for (let start = 0; start < pixels; start += CHUNK) {
      const end = Math.min(pixels, start + CHUNK), size = end - start;
      const none = { score: new Float32Array(size).fill(-Infinity), word: new Int32Array(size) };
      const inputs: Record<string, ort.Tensor> = { ...facts };
      for (const input of program.inputNames) {
        const [, name, what] = /^(\w+)_(score|word)$/.exec(input) ?? [];
        const found = strongest.get(name);
        if (what === "score") inputs[input] = new ort.Tensor("float32", found?.value.subarray(start, end) ?? none.score, [size]);
        if (what === "word") {
          const numbers = found && Int32Array.from(found.index.subarray(start, end), (at) => kept[found.places[at]]);
          inputs[input] = new ort.Tensor("int32", numbers ?? none.word, [size]);
        }
      }
      const decided = await program.run(inputs);
      // -1 is NONE
      labels.set(decided["label"].data as Int32Array, start);
      confidence.set(Uint8Array.from(decided["confidence"].data as Float32Array, (one) => Math.round(255 * one)), start);
    }
    return { labels, confidence } satisfies Partial<Segmentation>;
  }

  /** What the confidence of each word takes from its image; null where it wasn't fitted to such calls. */
  private async offsets({ words, isTaught }: Contest, maps: Maps, kept: readonly number[]): Promise<ort.Tensor | null> {
    const program = this.programs["offsets"];
    // a single word has none that it could be mistaken for
    if (!program || isTaught || words.length < 2 || !this.rules.windows.includes("auto")) return null;
    const places = [...kept.keys()].filter((place) => kept[place] < words.length);
    const { values, classes, rows, columns } = mapsOf(maps, places);
    const facts = words.flatMap((word) => {
      const { isTrained, kind, whole } = this.lexicon.of(firstName(word));
      return [isTrained, kind !== null, whole !== null].map(Number);
    });
    const found = await program.run({
      maps: new ort.Tensor("float32", values, [classes, rows, columns]),
      kept: new ort.Tensor("int64", places.map((place) => BigInt(kept[place])), [classes]),
      facts: new ort.Tensor("float32", facts, [words.length, 3]),
    });
    return found["offsets"];
  }
}

type Strongest = ReturnType<typeof strongestClass> & { readonly places: readonly number[] };

/** The contest of words that were taught, which have a calibration of their own; `none` is a map that they learned. */
export function taughtContest(words: readonly string[], hasNone: boolean): Contest {
  if (words.length > 1) return contestOf(words, {}, {}, { isTaught: true });
  const none = folded(words[0]) === "background" ? "background'" : "background";
  return contestOf(words, {}, hasNone ? { none: [none] } : {}, { isTaught: true, threshold: UNLIKELY });
}

function contestOf(
  words: readonly string[],
  roles: Contest["groups"],
  unasked: Readonly<Record<string, readonly string[]>>,
  facts: Partial<Contest> = {},
): Contest {
  let number = words.length;
  const places = Object.fromEntries(Object.entries(unasked).map(([name, some]) => [name, some.map(() => number++)]));
  return { words, unasked: Object.values(unasked).flat(), groups: { asked: [...words.keys()], ...roles, ...places }, ...facts };
}

function flags(values: readonly boolean[], dims: readonly number[] = [values.length]): ort.Tensor {
  return new ort.Tensor("bool", Uint8Array.from(values, Number), dims);
}

/** Where flags are set. */
function chosen({ data }: ort.Tensor): number[] {
  return Array.from(data as Uint8Array).flatMap((isSet, at) => (isSet ? [at] : []));
}
