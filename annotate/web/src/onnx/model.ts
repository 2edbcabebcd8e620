/** A network of an exported folder, run by ONNX Runtime. */

import * as ort from "onnxruntime-web/wasm";

import type { ModelInfo, Pixels, Progress, Query, Segmentation, TaughtFile } from "../backend";
import { PageError } from "../backend";
import { MOST_PIXELS } from "../imaging/reading";
import { resizedPlanes } from "../imaging/resize";
import { NONE } from "../labels/labeling";
import { firstName, folded } from "../labels/synonyms";
import { confidence, offsets, type WordFacts } from "./confidence";
import { checkedDescription, inputSize, selectionInputs, wordsProgram } from "./description";
import type { BackgroundWords, Description, Protocol, SelectionInputs } from "./description";
import { EDGES, refined } from "./edges";
import { type FeatureMap, readNames } from "./feature_maps";
import { float16 } from "./float16";
import { readFiles } from "./loading";
import { Prompts } from "./prompts";
import { type Maps, strongestClass } from "./strongest_class";
import { readTaughtWords, type TaughtWords } from "./taught_words";
import { checkModel, type Embeddings, fits, probeImage, softmaxLogits, TaughtQuery } from "./teaching";
import { WordKinds } from "./word_kinds";

type Features = Record<string, ort.Tensor>;

/** What the network sees in an image, for any words. */
export interface SeenImage {
  readonly features: Features;
  readonly width: number;
  readonly height: number;
}

export class Model {
  /** By name: a vector for each template. */
  private readonly embeddings = new Map<string, readonly Float32Array[]>();
  private readonly protocol: Protocol;
  private readonly kinds: WordKinds;
  /** The wholes by words for their parts. */
  private readonly partKinds: WordKinds;
  private readonly taught = new Map<string, TaughtWords>();
  /** What the network sees in the drawn image by which taught words recognize it. */
  private probed: Promise<FeatureMap[]> | undefined;

  private constructor(
    private readonly description: Description,
    private readonly prompts: Prompts,
    private readonly image: ort.InferenceSession,
    private readonly words: ort.InferenceSession,
    private readonly text: ort.InferenceSession,
    /** Refines edges, where the folder has the program. */
    private readonly edges: ort.InferenceSession | undefined,
    /** The words that the exported model was taught. */
    private readonly own: readonly { readonly file: TaughtFile; readonly taught: TaughtWords }[],
  ) {
    this.protocol = description.protocols["auto"];
    this.kinds = new WordKinds(description.text!.kinds);
    const wholes = description.background_words?.wholes ?? [];
    this.partKinds = new WordKinds(Object.fromEntries(wholes.map(({ name, parts }) => [name, parts])));
  }

  /** Load all programs of an exported folder, whose `segvoc.json` has been read, while the runtime loads. */
  static async load(content: unknown, folder: URL, runtime: Promise<void>, progress: Progress): Promise<Model> {
    const description = checkedDescription(content);
    const text = description.text!;
    const words = wordsProgram(description, description.protocols["auto"]);
    const programs = [description.image, words, text.program, ...(EDGES in description.files ? [EDGES] : [])];
    const ownTaught = description.taught ?? [];
    const isWeights = (name: string) => !name.endsWith(".onnx") && name !== text.tokenizer && !ownTaught.includes(name);
    const weights = Object.keys(description.files).filter(isWeights);
    const names = [text.tokenizer, ...programs, ...weights, ...ownTaught];
    const sizes = Object.fromEntries(names.map((name) => [name, description.files[name].bytes]));
    const [files] = await Promise.all([readFiles(folder, sizes, progress), runtime]);
    // programs share files of weights: each takes from them what it refers to
    const externalData = weights.map((path) => ({ path, data: files.get(path)! }));
    const sessions: ort.InferenceSession[] = [];
    for (const program of programs) {
      // later passes take a fifth of the time to open and make no run shorter
      const options = { executionProviders: ["wasm"], externalData, graphOptimizationLevel: "basic" } as const;
      sessions.push(await ort.InferenceSession.create(files.get(program)!, options));
    }
    const tokenizer = JSON.parse(new TextDecoder().decode(files.get(text.tokenizer))) as object;
    // its words say more than its name, which the export gave it
    const own = ownTaught.map((name) => {
      const { file, taught } = described(name, files.get(name)!);
      return { file: { ...file, name: "" }, taught };
    });
    return new Model(description, new Prompts(tokenizer, text), sessions[0], sessions[1], sessions[2], sessions[3], own);
  }

  get info(): ModelInfo {
    const threads = ort.env.wasm.numThreads ?? 1;
    const place = `on this device, ${threads} thread${threads === 1 ? "" : "s"}`;
    return { name: this.description.name, hasParts: false, place, taught: this.own.map(({ file }) => file), mostPixels: MOST_PIXELS };
  }

  /** Take a file of taught words, after a look at the drawn image. */
  async teach(name: string, content: Uint8Array): Promise<TaughtFile> {
    const { file, taught } = described(name, content);
    const { name: model, protocols } = this.description;
    this.probed ??= this.see(probeImage(), protocols["single"]).then(({ features }) => readMaps(features));
    checkModel(taught, model, await this.probed);
    this.taught.set(file.id, taught);
    return file;
  }

  async see(image: Pixels, protocol = this.protocol): Promise<SeenImage> {
    const [height, width] = inputSize(protocol, image.height, image.width);
    const pixels = new ort.Tensor("float32", resizedPlanes(image, height, width), [1, 3, height, width]);
    return { features: { ...(await this.image.run({ pixels })), pixels }, width: image.width, height: image.height };
  }

  async label(
    { features, height, width }: SeenImage,
    { words, taught }: Query,
  ): Promise<Omit<Segmentation, "seconds">> {
    const known = [...this.own.map((one) => one.taught), ...taught.map((id) => this.taught.get(id)!)];
    const byExamples = TaughtQuery.of(known, words);
    const embedded = await this.embedded(words);
    const background = byExamples ? null : this.description.background_words;
    const standIns = words.length === 1 ? background : null;
    const rivals = background && words.length > 1 ? this.rivals(background, words) : undefined;
    const text = standIns
      ? beside(embedded, await this.embedded(standIns.words), standIns.similarity)
      : rivals ? together(embedded, await this.embedded([...rivals.alike, ...rivals.others, ...rivals.unnamed])) : embedded;
    const embeddings = byExamples?.embeddings(text) ?? text;
    const selection = selectionInputs(this.protocol, text.words, known.length > 0);
    const { logits, kept } = await this.logits(features, embeddings, selection);
    const [, classes, rows, columns] = logits.dims;
    // words that weren't kept have no map
    const word = kept ? Uint16Array.from(kept.data as BigInt64Array, Number) : Uint16Array.from(Array(text.words).keys());
    const byText = logits.data as Float32Array;
    const values = byExamples?.added(byText, [rows, columns], word, fittingMaps(known, features)) ?? byText;
    if (!values.every(Number.isFinite))
      throw new PageError("The model's output for this image is not finite; export the model again in float32.");
    const coarse = { values, classes, rows, columns };
    const raw = this.edges && byExamples?.edges !== false ? await refined(this.edges, features, coarse) : coarse;
    const maps = byExamples ? { ...raw, values: softmaxLogits(raw.values, classes, byExamples.temperature) } : raw;
    const size = [height, width] as const;
    const sure = byExamples ? probability : this.confidence(words, maps, word);
    const labels = standIns
      ? rejecting(maps, word[0] === 0, standIns, sure, ...size)
      : labeled(maps, word, words.length, rivals, sure, ...size);
    const { name: model, dtype } = this.description;
    return { width, height, ...labels, words, parts: null, model, dtype };
  }

  /** How likely a label is right, by its logit and its number among the words. */
  private confidence(words: readonly string[], maps: Maps, kept: Uint16Array): Sure {
    const model = this.description.confidence;
    // a single word has none that it could be mistaken for
    if (!model || words.length < 2) return probability;
    const facts = words.map((word): WordFacts => {
      const isKnown = this.kinds.isTrained(firstName(word));
      return [Number(isKnown), Number(this.kinds.of(word) !== undefined), Number(this.partKinds.of(word) !== undefined)];
    });
    const offset = offsets(model, maps, words.map((_, number) => kept.indexOf(number)), facts);
    return (logit, number) => confidence(model, logit, offset[number]);
  }

  /** Words that compete by rules of their own, as `BackgroundWords.rivals` of segvoc finds them. */
  private rivals(background: BackgroundWords, words: readonly string[]): Rivals {
    const names = words.map((word) => folded(firstName(word)));
    const kinds = names.map((name) => this.kinds.of(name) ?? name);
    const places = (isOne: (at: number) => boolean) => [...names.keys()].filter(isOne);
    const surroundings = places((at) => background.words.includes(kinds[at]));
    const unasked = background.common.filter(([first]) => !kinds.includes(first));
    const isAlike = (group: readonly string[]) => group.some((name) => kinds.includes(name));
    const first = (groups: readonly (readonly string[])[]) => groups.map(([name]) => name);
    const isWhole = (kind: string) => background.wholes.some(({ name }) => name === kind);
    const wholeOf = names.map((name, at) => (isWhole(kinds[at]) ? undefined : this.partKinds.of(name)));
    const own = (name: string) => places((at) => kinds[at] === name && wholeOf[at] === undefined);
    const wholesOfParts = background.wholes.filter(({ name }) => wholeOf.includes(name));
    const absent = wholesOfParts.filter((one) => !own(one.name).length && !one.other_names.some((name) => names.includes(name)));
    const isOpen = words.length <= background.most_open || absent.length > 0;
    const compete = unasked.length > 0 && (isOpen || (surroundings.length > 0 && surroundings.length < names.length));
    return {
      surroundings: compete ? surroundings : [],
      alike: compete ? first(unasked.filter(isAlike)) : [],
      others: compete ? first(unasked.filter((group) => !isAlike(group))) : [],
      isOpen,
      parts: places((at) => wholeOf[at] !== undefined),
      wholes: wholesOfParts.flatMap(({ name }) => own(name)),
      unnamed: absent.map(({ name }) => name),
      lead: background.lead,
    };
  }

  private async logits(
    features: Features,
    { values, words: count, prompts, channels }: Embeddings,
    { least, share, bySimilarity }: SelectionInputs,
  ): Promise<{ logits: ort.Tensor; kept: ort.Tensor | undefined }> {
    const integer = (value: number, dims: number[]) => new ort.Tensor("int64", [BigInt(value)], dims);
    const inputs: Features = {
      words: new ort.Tensor("float32", values, [count, prompts, channels]),
      least: integer(Math.min(least, count), []),
      share: new ort.Tensor("float64", [share], []),
      by_similarity: new ort.Tensor("bool", [bySimilarity], []),
      objects: integer(count, []),
      // no parts of objects
      part: integer(0, [1]),
      owner: integer(0, [1]),
      ...features,
    };
    const known = Object.entries(inputs).filter(([name]) => this.words.inputNames.includes(name));
    const { logits, kept } = await this.words.run(Object.fromEntries(known));
    return { logits, kept };
  }

  /** Embeddings of the words by their first names, which are encoded once. */
  private async embedded(words: readonly string[]): Promise<Embeddings> {
    const names = words.map(firstName);
    const kinds = names.map((name) => this.kinds.of(name) ?? name);
    const missing = [...new Set([...names, ...kinds])].filter((name) => !this.embeddings.has(name));
    const { templates, average, unit_length } = this.description.text!;
    const prompted = missing.flatMap((name) => templates.map((template) => template.replaceAll("{}", () => name)));
    const vectors = await this.encoded(prompted);
    for (const [at, name] of missing.entries())
      this.embeddings.set(name, vectors.slice(at * templates.length, (at + 1) * templates.length));
    const rows = names.map((name) => {
      const alone = this.embeddings.get(name)!, ofKind = this.embeddings.get(this.kinds.of(name) ?? name)!;
      const own = alone === ofKind ? alone : alone.map((vector, at) => mean([vector, ofKind[at]]));
      const kept = average ? [mean(own)] : own;
      return joined(unit_length ? kept.map(normalized) : kept);
    });
    const prompts = average ? 1 : templates.length;
    const values = joined(rows);
    return { values, words: words.length, prompts, channels: values.length / (words.length * prompts) };
  }

  private async encoded(prompts: readonly string[]): Promise<Float32Array[]> {
    const result = new Array<Float32Array>(prompts.length);
    for (const { places, length, tokens } of this.prompts.batches(prompts)) {
      const output = await this.text.run({ tokens: new ort.Tensor("int64", tokens, [places.length, length]) });
      const { data, dims } = output["embeddings"];
      for (const [row, place] of places.entries())
        result[place] = (data as Float32Array).slice(row * dims[1], (row + 1) * dims[1]);
    }
    return result;
  }
}

function described(name: string, content: Uint8Array): { file: TaughtFile; taught: TaughtWords } {
  const taught = readTaughtWords(name, content);
  return { file: { id: digest(content), name, words: taught.words }, taught };
}

/** A short digest of a file (FNV-1a): browsers offer better ones to pages of HTTPS alone. */
function digest(content: Uint8Array): string {
  let hash = 0x811c9dc5;
  for (const byte of content) hash = Math.imul(hash ^ byte, 0x01000193);
  return `${content.length}-${(hash >>> 0).toString(16)}`;
}

function readMaps(features: Features): FeatureMap[] {
  return readNames(Object.keys(features)).map((name) => {
    const { data, dims } = features[name];
    const values = data instanceof Uint16Array ? float16(data) : Float32Array.from(data as Float32Array);
    return { name, values, channels: dims[1], rows: dims[2], columns: dims[3] };
  });
}

function fittingMaps(known: readonly TaughtWords[], features: Features): FeatureMap[] {
  const maps = readMaps(features);
  if (!known.every((taught) => fits(taught, maps)))
    throw new PageError("The model's taught words are for another one; export the page again.");
  return maps;
}

/** A word, followed by those words for its surroundings that are no synonyms of it. */
export function beside(word: Embeddings, surroundings: Embeddings, similarity: number): Embeddings {
  const [own] = directions(word);
  const isOther = directions(surroundings).map((other) => dot(own, other) <= similarity);
  const rows = vectors(surroundings).filter((_, at) => isOther[at]);
  return { ...word, values: joined([word.values, ...rows]), words: 1 + rows.length };
}

function together(words: Embeddings, others: Embeddings): Embeddings {
  return { ...words, values: joined([words.values, others.values]), words: words.words + others.words };
}

function vectors({ values, words, prompts, channels }: Embeddings): Float32Array[] {
  return Array.from({ length: words }, (_, at) => values.subarray(at * prompts * channels, (at + 1) * prompts * channels));
}

/** Of each word, the mean of its embeddings, of unit length. */
function directions(words: Embeddings): Float32Array[] {
  const { prompts, channels } = words;
  return vectors(words).map((vector) =>
    normalized(mean(Array.from({ length: prompts }, (_, at) => vector.subarray(at * channels, (at + 1) * channels)))));
}

function dot(one: Float32Array, other: Float32Array): number {
  return one.reduce((sum, x, at) => sum + x * other[at], 0);
}

type Labels = Pick<Segmentation, "labels" | "confidence">;

/** Words of a call that compete by rules of their own, and words that nobody asked for; see `Rivals` of segvoc. */
interface Rivals {
  readonly surroundings: readonly number[];
  readonly alike: readonly string[];
  readonly others: readonly string[];
  readonly parts: readonly number[];
  readonly isOpen: boolean;
  readonly wholes: readonly number[];
  /** Wholes. */
  readonly unnamed: readonly string[];
  readonly lead: number;
}

function labeled(maps: Maps, word: Uint16Array, words: number, rivals: Rivals | undefined, sure: Sure, height: number, width: number): Labels {
  const cells = maps.rows * maps.columns;
  /** The strongest of some words, as their numbers; undefined if none of them was kept. */
  const strongest = (isOne: (number: number) => boolean) => {
    const places = [...word.keys()].filter((place) => isOne(word[place]));
    if (!places.length) return undefined;
    const values = joined(places.map((place) => maps.values.subarray(place * cells, (place + 1) * cells)));
    const { index, value } = strongestClass({ ...maps, values, classes: places.length }, height, width);
    return { index: index.map((at) => word[places[at]]), value };
  };
  const pixels = height * width, none = { index: new Uint16Array(pixels), value: new Float32Array(pixels).fill(-Infinity) };
  const { index, value } = strongest((number) => number < words) ?? none;
  const take = (at: number, winner: Winner) => {
    index[at] = winner.index[at];
    value[at] = winner.value[at];
  };
  const { alike, others, isOpen, unnamed, surroundings, parts, wholes, lead } = rivals ?? NO_RIVALS;
  const firstOther = words + alike.length, firstUnnamed = firstOther + others.length;
  const similar = strongest((number) => number >= words && number < firstOther);
  const other = strongest((number) => number >= firstOther && number < firstUnnamed);
  const named = surroundings.length ? strongest((number) => surroundings.includes(number)) : undefined;
  const part = wholes.length ? strongest((number) => parts.includes(number)) : undefined;
  const missing = unnamed.length ? strongest((number) => number >= firstUnnamed) : undefined;
  const [isNamed, isWhole, isPart] = [surroundings, wholes, parts].map((all) => new Set(all));
  const confidence = new Uint8Array(pixels);
  for (let at = 0; at < index.length; at++) {
    const like = similar?.value[at] ?? -Infinity;
    const isOther = isOpen && other && other.value[at] > Math.max(value[at], like) + lead;
    const standIn = Math.max(like, other?.value[at] ?? -Infinity);
    if (named && standIn > value[at] && !isNamed.has(index[at])) take(at, named);
    if (part && isWhole.has(index[at]) && part.value[at] + lead > value[at]) take(at, part);
    confidence[at] = Math.round(255 * sure(value[at], index[at]));
    if (isOther || (missing && isPart.has(index[at]) && missing.value[at] > value[at] + lead)) index[at] = NONE;
  }
  return { labels: index, confidence };
}

type Winner = ReturnType<typeof strongestClass>;

const NO_RIVALS: Rivals = { surroundings: [], alike: [], others: [], isOpen: false, parts: [], wholes: [], unnamed: [], lead: 0 };

/** Labels of a single word, which is the first map if it is there: pixels where it doesn't beat the others are unlabeled. */
export function rejecting(
  maps: Maps,
  isKept: boolean,
  { threshold, margin }: Pick<BackgroundWords, "threshold" | "margin">,
  sure: Sure,
  height: number,
  width: number,
): Labels {
  if (!isKept) return { labels: new Uint16Array(height * width).fill(NONE), confidence: new Uint8Array(height * width) };
  const cells = maps.rows * maps.columns;
  const raised = maps.values.map((logit, at) => (at < cells ? logit : logit + margin));
  const { index } = strongestClass({ ...maps, values: raised }, height, width);
  const own = { ...maps, values: maps.values.subarray(0, cells), classes: 1 };
  const { value } = strongestClass(own, height, width);
  const least = Math.log(threshold / (1 - threshold));
  const confidence = Uint8Array.from(value, (logit) => Math.round(255 * sure(logit, 0)));
  return { labels: index.map((place, at) => (place === 0 && value[at] >= least ? 0 : NONE)), confidence };
}

/** How likely a label is right, by its logit and its number among the words. */
type Sure = (logit: number, number: number) => number;

export const probability: Sure = (logit) => 1 / (1 + Math.exp(-logit));

function mean(vectors: readonly Float32Array[]): Float32Array {
  return vectors[0].map((_, at) => vectors.reduce((sum, vector) => sum + vector[at], 0) / vectors.length);
}

function normalized(vector: Float32Array): Float32Array {
  const length = Math.max(1e-12, Math.hypot(...vector));
  return vector.map((value) => value / length);
}

function joined(vectors: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(vectors.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const vector of vectors) {
    result.set(vector, at);
    at += vector.length;
  }
  return result;
}
