/** What becomes of pixels: runs a model's decision, whose functions (`segvoc.inference.decision`) are programs. */

import * as ort from "onnxruntime-web/wasm";

import { firstName, folded } from "../labels/synonyms";
import type { Rules } from "./description";
import type { Lexicon } from "./lexicon";
import { type Maps, strongestClass } from "./strongest_class";
import { type ColoredWords, coloredWords, withColors } from "./word_colors";

/** Pixels that are decided at a time. */
const CHUNK = 1 << 18;

/**
 * Probability below which a single word isn't there, where nothing stands for what is beside it: `DEFAULT_THRESHOLD` of
 * `segvoc.inference.decision`, which holds for calls of any model, so that no `segvoc.json` has it.
 */
const UNLIKELY = 0.5;

/** By its name in `segvoc.json`; a folder without a program doesn't have its rule. */
export type Programs = Readonly<Record<string, ort.InferenceSession | undefined>>;

/** The words of a call, and words that compete with them though nobody asked for them. */
export interface Contest {
  readonly words: readonly string[];
  readonly unasked: readonly string[];
  /** Numbers of words, of which the unasked ones come last, by the names that programs have for their groups. */
  readonly groups: Readonly<Record<string, readonly number[]>>;
  /** Inputs of the pixels' program by which rules hold. */
  readonly facts: Tensors;
  /** Whether the model's confidence was fitted to such calls. */
  readonly isFitted: boolean;
  /** Words between which colors decide. */
  readonly colored: readonly ColoredWords[];
}

type Tensors = Readonly<Record<string, ort.Tensor>>;

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
      // none that it could be mistaken for, and so no fitted confidence
      if (!standIns || !differ) return contestOf(words, {}, {}, { threshold: number(UNLIKELY) });
      const found = await differ.run({ requested: await embedded(words), others: await embedded(standIns.words) });
      const others = chosen(found["differ"]).map((at) => standIns.words[at]);
      return contestOf(words, {}, { stand_ins: others }, { least: number(standIns.threshold) });
    }
    const isFitted = this.rules.windows.includes("auto");
    if (!competition) return contestOf(words, {}, {}, {}, isFitted);
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
    const { surfaces: surface, parts: part, wholes: whole, is_open } = found;
    const firsts = (name: string) => chosen(found[name]).map((at) => common[at][0]);
    const unnamed = chosen(found["unnamed"]).map((at) => wholes[at].name);
    // parts give way to their wholes alone
    const roles = { surfaces: chosen(surface), parts: chosen(whole).length ? chosen(part) : [] };
    const unasked = { similar: firsts("similar"), others: firsts("others"), unnamed_wholes: unnamed };
    const colored = this.programs["colors"] ? coloredWords(facts) : [];
    return { ...contestOf(words, roles, unasked, { surface, part, whole, is_open }, isFitted), colored };
  }

  /** Maps of a contest's words, whose numbers are given, by the colors of an image's pixels. */
  async colored(contest: Contest, pixels: ort.Tensor, maps: Maps, kept: readonly number[]): Promise<Maps> {
    if (!contest.colored.length) return maps;
    // the words that were asked for come first
    return withColors(this.programs["colors"]!, pixels, contest.colored, maps, kept.filter((number) => number < contest.words.length));
  }

  /** The labels of pixels by maps of the contest's words, whose numbers are given, and how likely they are right. */
  async labels(contest: Contest, maps: Maps, kept: readonly number[], height: number, width: number) {
    const program = this.programs["pixels"]!, pixels = height * width;
    const none = flags(contest.words.map(() => false)), offsets = await this.offsets(contest, maps, kept);
    const facts: Tensors = {
      surface: none,
      part: none,
      whole: none,
      is_open: flags([false], []),
      threshold: number(0),
      least: number(0),
      offsets: offsets ?? new ort.Tensor("float32", new Float32Array(none.size), none.dims),
      is_fitted: flags([offsets !== null], []),
      ...contest.facts,
    };
    const among = (some: readonly number[]) => {
      const numbers = new Set(some), places = [...kept.keys()].filter((place) => numbers.has(kept[place]));
      return strongestClass(maps, height, width, places);
    };
    const strongest = new Map(Object.entries(contest.groups).map(([name, some]) => [name, among(some)])), nowhere = among([]);
    const labels = new Uint16Array(pixels), confidence = new Uint8Array(pixels);
    for (let start = 0; start < pixels; start += CHUNK) {
      const end = Math.min(pixels, start + CHUNK), dims = [end - start];
      const inputs = { ...facts };
      for (const input of program.inputNames.filter((name) => !(name in facts))) {
        const [, name, what] = /^(\w+)_(score|word)$/.exec(input)!;
        const { value, index } = strongest.get(name) ?? nowhere;
        inputs[input] = what === "score"
          ? new ort.Tensor("float32", value.subarray(start, end), dims)
          : new ort.Tensor("int32", new Int32Array(index.subarray(start, end)).map((place) => kept[place]), dims);
      }
      const decided = await program.run(inputs);
      // -1 is NONE
      labels.set(decided["label"].data as Int32Array, start);
      confidence.set((decided["confidence"].data as Float32Array).map((one) => Math.round(255 * one)), start);
    }
    return { labels, confidence };
  }

  /** What the confidence of each word takes from its image; null where it wasn't fitted to such calls. */
  private async offsets({ words, isFitted }: Contest, maps: Maps, kept: readonly number[]): Promise<ort.Tensor | null> {
    const program = this.programs["offsets"];
    if (!program || !isFitted) return null;
    const own = kept.filter((number) => number < words.length), { rows, columns } = maps;
    const facts = words.flatMap((word) => {
      const { isTrained, kind, whole } = this.lexicon.of(firstName(word));
      return [isTrained, kind !== null, whole !== null].map(Number);
    });
    const { offsets } = await program.run({
      // the words that were asked for come first
      maps: new ort.Tensor("float32", maps.values.subarray(0, own.length * rows * columns), [own.length, rows, columns]),
      kept: new ort.Tensor("int64", own.map(BigInt), [own.length]),
      facts: new ort.Tensor("float32", facts, [words.length, 3]),
    });
    return offsets;
  }
}

/** The contest of words that were taught, which have a calibration of their own. */
export function taughtContest(words: readonly string[], hasNone: boolean): Contest {
  if (words.length > 1) return contestOf(words);
  // a name that is no word, for the map that they learned of what shows none of them
  const unasked = hasNone ? [folded(words[0]) === "background" ? "background'" : "background"] : [];
  return { ...contestOf(words, {}, {}, { threshold: number(UNLIKELY) }), unasked };
}

function contestOf(
  words: readonly string[],
  roles: Contest["groups"] = {},
  others: Readonly<Record<string, readonly string[]>> = {},
  facts: Tensors = {},
  isFitted = false,
): Contest {
  let next = words.length;
  const places = Object.fromEntries(Object.entries(others).map(([name, some]) => [name, some.map(() => next++)]));
  const groups = { asked: [...words.keys()], ...roles, ...places };
  return { words, unasked: Object.values(others).flat(), groups, facts, isFitted, colored: [] };
}

function number(value: number): ort.Tensor {
  return new ort.Tensor("float32", [value], []);
}

function flags(values: readonly boolean[], dims: readonly number[] = [values.length]): ort.Tensor {
  return new ort.Tensor("bool", Uint8Array.from(values, Number), dims);
}

/** Where flags are set. */
function chosen({ data }: ort.Tensor): number[] {
  return Array.from(data as Uint8Array).flatMap((isSet, at) => (isSet ? [at] : []));
}
