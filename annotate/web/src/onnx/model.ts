/** A network of an exported folder, run by ONNX Runtime. */

import * as ort from "onnxruntime-web/wasm";

import type { ModelInfo, Pixels, Progress, Query, Segmentation, TaughtFile } from "../backend";
import { PageError } from "../backend";
import { MOST_PIXELS } from "../imaging/reading";
import { resizedPlanes } from "../imaging/resize";
import { firstName } from "../labels/synonyms";
import { Decision, type Programs, taughtContest } from "./decision";
import { checkedDescription, inputSize, selectionInputs, wordsProgram } from "./description";
import type { Description, Protocol, SelectionInputs } from "./description";
import { EDGE_WEIGHTS, EDGES, edgeWeights, refined } from "./edges";
import { type FeatureMap, float16, readNames } from "./feature_maps";
import { Lexicon } from "./lexicon";
import { readFiles } from "./loading";
import { Prompts } from "./prompts";
import { readTaughtWords, type TaughtWords } from "./taught_words";
import { checkModel, type Embeddings, fits, probeImage, softmaxLogits, TaughtQuery } from "./teaching";
import { KEPT } from "./word_colors";

type Features = Record<string, ort.Tensor>;

/** What the network sees in an image, for any words. */
export interface SeenImage {
  readonly features: Features;
  readonly width: number;
  readonly height: number;
  /** What refines maps of words, from the first ones on. */
  edges?: ort.Tensor;
}

export class Model {
  /** By name: a vector for each template. */
  private readonly embeddings = new Map<string, readonly Float32Array[]>();
  private readonly protocol: Protocol;
  private readonly decision: Decision;
  private readonly taught = new Map<string, TaughtWords>();
  /** What the network sees in the drawn image by which taught words recognize it. */
  private probed: Promise<FeatureMap[]> | undefined;

  private constructor(
    private readonly description: Description,
    private readonly prompts: Prompts,
    private readonly image: ort.InferenceSession,
    private readonly words: ort.InferenceSession,
    private readonly text: ort.InferenceSession,
    /** Refines edges, where the folder has the programs. */
    private readonly edges: { readonly weigh: ort.InferenceSession; readonly apply: ort.InferenceSession } | undefined,
    /** The words that the exported model was taught. */
    private readonly own: readonly { readonly file: TaughtFile; readonly taught: TaughtWords }[],
    programs: Programs,
  ) {
    this.protocol = description.protocols["auto"];
    this.decision = new Decision(description.decision, new Lexicon(description.lexicon), programs);
  }

  /** Load all programs of an exported folder, whose `segvoc.json` has been read, while the runtime loads. */
  static async load(content: unknown, folder: URL, runtime: Promise<void>, progress: Progress): Promise<Model> {
    const description = checkedDescription(content);
    const text = description.text!;
    const words = wordsProgram(description, description.protocols["auto"]);
    const decision = description.decision_programs;
    const programs = [description.image, words, text.program, EDGE_WEIGHTS, EDGES, ...Object.values(decision)].filter((name) => name in description.files);
    const ownTaught = description.taught ?? [];
    const isWeights = (name: string) => !name.endsWith(".onnx") && name !== text.tokenizer && !ownTaught.includes(name);
    const weights = Object.keys(description.files).filter(isWeights);
    const names = [text.tokenizer, ...programs, ...weights, ...ownTaught];
    const sizes = Object.fromEntries(names.map((name) => [name, description.files[name].bytes]));
    const [files] = await Promise.all([readFiles(folder, sizes, progress), runtime]);
    // programs share files of weights: each takes from them what it refers to
    const externalData = weights.map((path) => ({ path, data: files.get(path)! }));
    const sessions: Record<string, ort.InferenceSession> = {};
    for (const program of programs) {
      // later passes take a fifth of the time to open and make no run shorter
      const options = { executionProviders: ["wasm"], externalData, graphOptimizationLevel: "basic" } as const;
      sessions[program] = await ort.InferenceSession.create(files.get(program)!, options);
    }
    const tokenizer = JSON.parse(new TextDecoder().decode(files.get(text.tokenizer))) as object;
    // its words say more than its name, which the export gave it
    const own = ownTaught.map((name) => {
      const { file, taught } = described(name, files.get(name)!);
      return { file: { ...file, name: "" }, taught };
    });
    const { [description.image]: image, [words]: refine, [text.program]: encode, [EDGE_WEIGHTS]: weigh, [EDGES]: apply } = sessions;
    const byName = Object.fromEntries(Object.entries(decision).map(([name, file]) => [name, sessions[file]]));
    return new Model(description, new Prompts(tokenizer, text), image, refine, encode, apply && { weigh, apply }, own, byName);
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

  async label(seen: SeenImage, { words, taught }: Query): Promise<Omit<Segmentation, "seconds">> {
    const { features, height, width } = seen;
    const known = [...this.own.map((one) => one.taught), ...taught.map((id) => this.taught.get(id)!)];
    const byExamples = TaughtQuery.of(known, words);
    const contest = byExamples
      ? taughtContest(words, byExamples.none === words.length)
      : await this.decision.contest(words, async (some) => embeddingsTensor(await this.embedded(some)));
    const text = await this.embedded([...words, ...contest.unasked]);
    const embeddings = byExamples?.embeddings(text) ?? text;
    const least = contest.colored.length ? KEPT : 0;
    const selection = selectionInputs(this.protocol, words.length, contest.unasked.length, known.length > 0, least);
    const { logits, kept } = await this.logits(features, embeddings, selection);
    const [, classes, rows, columns] = logits.dims;
    // words that weren't kept have no map
    const word = kept ? Array.from(kept.data as BigInt64Array, Number) : [...Array(text.words).keys()];
    const byText = logits.data as Float32Array;
    const values = byExamples?.added(byText, [rows, columns], word, fittingMaps(known, features)) ?? byText;
    if (!values.every(Number.isFinite))
      throw new PageError("The model's output for this image is not finite; export the model again in float32.");
    const coarse = { values, classes, rows, columns };
    const isRefined = this.edges && byExamples?.edges !== false;
    if (isRefined) seen.edges ??= await edgeWeights(this.edges.weigh, features);
    const raw = isRefined ? await refined(this.edges.apply, seen.edges!, coarse) : coarse;
    const maps = byExamples
      ? { ...raw, values: softmaxLogits(raw.values, classes, byExamples.temperature) }
      : await this.decision.colored(contest, features["pixels"], raw, word);
    const labels = await this.decision.labels(contest, maps, word, height, width);
    const { name: model, dtype } = this.description;
    // as Python's `result.quality`: where the confidence is fitted, or taught words share a cell's probability
    const labeled = labels.confidence.filter((_, at) => labels.labels[at] !== 65535);
    const isProbability = words.length > 1 && (byExamples !== null || contest.isFitted) && labeled.length > 0;
    const quality = isProbability ? labeled.reduce((sum, one) => sum + one, 0) / (255 * labeled.length) : null;
    return { width, height, ...labels, words, parts: null, model, dtype, quality };
  }

  private async logits(
    features: Features,
    text: Embeddings,
    { least, share, bySimilarity, objects }: SelectionInputs,
  ): Promise<{ logits: ort.Tensor; kept: ort.Tensor | undefined }> {
    const integers = (values: readonly number[], dims = [values.length]) => new ort.Tensor("int64", values.map(BigInt), dims);
    // words beyond the objects belong to all of these
    const pairs = [...Array((text.words - objects) * objects).keys()];
    const inputs: Features = {
      words: embeddingsTensor(text),
      least: integers([least], []),
      share: new ort.Tensor("float64", [share], []),
      by_similarity: new ort.Tensor("bool", [bySimilarity], []),
      objects: integers([objects], []),
      // no pair is one that has no effect
      part: integers(pairs.length ? pairs.map((at) => objects + Math.floor(at / objects)) : [0]),
      owner: integers(pairs.length ? pairs.map((at) => at % objects) : [0]),
      ...features,
    };
    const known = Object.entries(inputs).filter(([name]) => this.words.inputNames.includes(name));
    const { logits, kept } = await this.words.run(Object.fromEntries(known));
    return { logits, kept };
  }

  /** Embeddings of the words by their first names, which are encoded once. */
  private async embedded(words: readonly string[]): Promise<Embeddings> {
    const names = words.map(firstName);
    const kinds = names.map((name) => this.decision.lexicon.of(name).kind ?? name);
    const missing = [...new Set([...names, ...kinds])].filter((name) => !this.embeddings.has(name));
    const { templates, average, unit_length } = this.description.text!;
    const prompted = missing.flatMap((name) => templates.map((template) => template.replaceAll("{}", () => name)));
    const vectors = await this.encoded(prompted);
    for (const [at, name] of missing.entries())
      this.embeddings.set(name, vectors.slice(at * templates.length, (at + 1) * templates.length));
    const rows = names.map((name, at) => {
      const alone = this.embeddings.get(name)!, ofKind = this.embeddings.get(kinds[at])!;
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

function embeddingsTensor({ values, words, prompts, channels }: Embeddings): ort.Tensor {
  return new ort.Tensor("float32", values, [words, prompts, channels]);
}

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
