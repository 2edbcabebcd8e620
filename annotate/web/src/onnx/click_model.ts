/** The network of clicks on what `tiny` sees in the views of one image. */

import * as ort from "onnxruntime-web/wasm";

import type { Pixels } from "../backend";
import type { ViewNetwork } from "../clicks/guess";
import { resizedPlanes } from "../imaging/resize";
import type { Box, Size } from "../labels/runs";
import { inputSize, type Protocol } from "./description";
import type { Grid } from "./feature_maps";
import { json, readFiles } from "./loading";
import { Recent } from "./recent";

/** What `clicks.json` says: addresses relative to it, and how images are given to `tiny`. */
interface ClickFiles {
  /** The program from pixels to features. */
  readonly image: string;
  /** Its files of weights, by the names that it has for them. */
  readonly weights: Readonly<Record<string, string>>;
  /** The program from features and clicks to a mask. */
  readonly program: string;
  readonly protocol: Protocol;
}

/** Reads a rectangle of an image, with at least so many pixels as far as the image has them. */
export type ReadPart = (view: Box, least: Size) => Promise<Pixels>;

type Tensors = Record<string, ort.Tensor>;

const FEATURES = ["appearance", "tap_0", "tap_1"];

export class ClickModel implements ViewNetwork {
  image: Size = { width: 0, height: 0 };
  private part: ReadPart = () => Promise.reject(new Error("no image is open"));
  private id = "";
  /** Features of views of this image and others, by the images' ids and their places. */
  private readonly seen = new Recent<Promise<Tensors>>();

  private constructor(
    private readonly encoder: ort.InferenceSession,
    private readonly program: ort.InferenceSession,
    private readonly protocol: Protocol,
  ) {}

  static async load(folder: URL): Promise<ClickModel> {
    const about = (await json(new URL("clicks.json", folder))) as ClickFiles;
    const addresses = [about.image, about.program, ...Object.values(about.weights)];
    const files = await readFiles(folder, Object.fromEntries(addresses.map((one) => [one, 0])));
    const externalData = Object.entries(about.weights).map(([path, address]) => ({ path, data: files.get(address)! }));
    const options = { executionProviders: ["wasm"] };
    const encoder = await ort.InferenceSession.create(files.get(about.image)!, { ...options, externalData });
    return new ClickModel(encoder, await ort.InferenceSession.create(files.get(about.program)!, options), about.protocol);
  }

  open(id: string, image: Size, part: ReadPart): void {
    this.id = id;
    this.image = image;
    this.part = part;
  }

  size(view: Box): Omit<Grid, "values"> {
    const [height, width] = this.inputSize(view);
    return { rows: height / 2, columns: width / 2 };
  }

  async run(view: Box, clicks: Float32Array, { values, rows, columns }: Grid): Promise<Grid> {
    const { logits } = await this.program.run({
      ...(await this.features(view)),
      clicks: new ort.Tensor("float32", clicks, [clicks.length / 3, 3]),
      mask: new ort.Tensor("float32", values, [rows, columns]),
    });
    return { rows, columns, values: logits.data as Float32Array };
  }

  private inputSize({ left, top, right, bottom }: Box): [number, number] {
    return inputSize(this.protocol, bottom - top, right - left);
  }

  /** Whether it was asked before what is seen in a view. */
  knows(view: Box): boolean {
    return this.seen.get(this.keyOf(view)) !== undefined;
  }

  private keyOf({ left, top, right, bottom }: Box): string {
    return [this.id, left, top, right, bottom].join();
  }

  /** What is seen in a view, which may be asked before it is clicked. */
  features(view: Box): Promise<Tensors> {
    const key = this.keyOf(view);
    const found = this.seen.get(key) ?? this.see(view);
    this.seen.set(key, found);
    return found;
  }

  private async see(view: Box): Promise<Tensors> {
    const [height, width] = this.inputSize(view);
    const planes = resizedPlanes(await this.part(view, { width, height }), height, width);
    const pixels = new ort.Tensor("float32", planes, [1, 3, height, width]);
    return { ...(await this.encoder.run({ pixels }, FEATURES)), pixels };
  }
}

export function cut(image: Pixels, { left, top, right, bottom }: Box): Pixels {
  const width = right - left,
    height = bottom - top;
  if (width === image.width && height === image.height) return image;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    const from = 4 * ((top + y) * image.width + left);
    data.set(image.data.subarray(from, from + 4 * width), 4 * y * width);
  }
  return { width, height, data };
}
