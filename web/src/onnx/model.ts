/** A network of an exported folder, run by ONNX Runtime. */

import * as ort from "onnxruntime-web/wasm";

import { PageError, type ModelInfo, type Pixels, type Query, type Segmentation } from "../backend";
import { resizedPlanes } from "../imaging/resize";
import { firstName, names } from "../labels/synonyms";
import {
  checkedDescription,
  inputSize,
  ownSelection,
  wordsProgram,
  type Description,
  type Protocol,
} from "./description";
import type { Loader } from "./loading";
import { Prompts } from "./prompts";
import { strongestClass } from "./strongest_class";

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

  private constructor(
    private readonly description: Description,
    private readonly prompts: Prompts,
    private readonly image: ort.InferenceSession,
    private readonly words: ort.InferenceSession,
    private readonly text: ort.InferenceSession,
  ) {
    this.protocol = description.protocols["auto"];
  }

  /** Load all programs of an exported folder, whose `segvoc.json` has been read. */
  static async load(content: unknown, loader: Loader): Promise<Model> {
    const description = checkedDescription(content);
    const text = description.text!;
    const words = wordsProgram(description, description.protocols["auto"]);
    const programs = [description.image, words, text.program];
    const isWeights = (name: string) => !name.endsWith(".onnx") && name !== text.tokenizer;
    const weights = Object.keys(description.files).filter(isWeights);
    const names = [text.tokenizer, ...programs, ...weights];
    const files = await loader.all(Object.fromEntries(names.map((name) => [name, description.files[name].bytes])));
    // programs share files of weights: each takes from them what it refers to
    const externalData = weights.map((path) => ({ path, data: files.get(path)! }));
    const sessions: ort.InferenceSession[] = [];
    for (const program of programs) {
      const options = { executionProviders: ["wasm"], externalData };
      sessions.push(await ort.InferenceSession.create(files.get(program)!, options));
    }
    const tokenizer = JSON.parse(new TextDecoder().decode(files.get(text.tokenizer))) as object;
    return new Model(description, new Prompts(tokenizer, text), sessions[0], sessions[1], sessions[2]);
  }

  get info(): ModelInfo {
    const threads = ort.env.wasm.numThreads ?? 1;
    const place = `on this device, ${threads} thread${threads === 1 ? "" : "s"}`;
    return { name: this.description.name, hasParts: false, place };
  }

  /** Look at an image. */
  async see(image: Pixels): Promise<SeenImage> {
    const [height, width] = inputSize(this.protocol, image.height, image.width);
    const pixels = new ort.Tensor("float32", resizedPlanes(image, height, width), [1, 3, height, width]);
    return { features: { ...(await this.image.run({ pixels })) }, width: image.width, height: image.height };
  }

  /** Label every pixel of an image. */
  async label(
    { features, height, width }: SeenImage,
    { words, synonyms }: Query,
  ): Promise<Omit<Segmentation, "seconds">> {
    const looked = words.map((word) => (synonyms === "average" ? names(word) : [firstName(word)]));
    const { logits, kept } = await this.logits(features, looked);
    const [, classes, rows, columns] = logits.dims;
    const values = logits.data as Float32Array;
    if (!values.every(Number.isFinite))
      throw new PageError("The model's output for this image is not finite; export the model again in float32.");
    const { index, value } = strongestClass({ values, classes, rows, columns }, height, width);
    // words that weren't kept have no map
    const word = kept ? Uint16Array.from(kept.data as BigInt64Array, Number) : Uint16Array.from(words.keys());
    return {
      width,
      height,
      labels: index.map((place) => word[place]),
      confidence: probabilities(value),
      words,
      parts: null,
      model: this.description.name,
      dtype: this.description.dtype,
    };
  }

  private async logits(
    features: Features,
    words: readonly (readonly string[])[],
  ): Promise<{ logits: ort.Tensor; kept: ort.Tensor | undefined }> {
    const count = words.length;
    const { least, share, bySimilarity } = ownSelection(this.description, this.protocol, count);
    const integer = (value: number, dims: number[]) => new ort.Tensor("int64", [BigInt(value)], dims);
    const inputs: Features = {
      words: await this.embedded(words),
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

  /** Embeddings of the words, (words, prompts, channels): of each the mean of its names, which are encoded once. */
  private async embedded(words: readonly (readonly string[])[]): Promise<ort.Tensor> {
    const missing = [...new Set(words.flat())].filter((name) => !this.embeddings.has(name));
    const vectors = await this.encoded(missing.flatMap((name) => this.prompts.of(name)));
    const { templates, average, unit_length } = this.description.text!;
    for (const [at, name] of missing.entries())
      this.embeddings.set(name, vectors.slice(at * templates.length, (at + 1) * templates.length));
    const rows = words.map((names) => {
      const own = templates.map((_, at) => mean(names.map((name) => this.embeddings.get(name)![at])));
      const kept = average ? [mean(own)] : own;
      return joined(unit_length ? kept.map(normalized) : kept);
    });
    const prompts = average ? 1 : templates.length;
    const values = joined(rows);
    return new ort.Tensor("float32", values, [words.length, prompts, values.length / (words.length * prompts)]);
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

/** Probabilities of logits, in [0, 255]. */
function probabilities(logits: Float32Array): Uint8Array {
  const result = new Uint8Array(logits.length);
  for (let at = 0; at < logits.length; at++) result[at] = Math.round(255 / (1 + Math.exp(-logits[at])));
  return result;
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
