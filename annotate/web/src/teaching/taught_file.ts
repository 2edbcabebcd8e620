/** Writes files of taught words, which `--taught` and the page read. */

import { halves } from "../onnx/float16";
import { FORMAT, HEADER } from "../onnx/taught_words";
import type { TaughtWord } from "./learning";

/** What taught words were made from and for. */
export interface Teaching {
  readonly model: string;
  readonly words: readonly TaughtWord[];
  /** Channels of the features that the classifiers read, in order. */
  readonly channels: Readonly<Record<string, number>>;
  /** Images with at least one labeled pixel. */
  readonly images: number;
  readonly penalty: readonly [number, number];
  /** Mean IoU and share of the right pixels on held-out images [%], by text alone and with examples. */
  readonly before: { readonly miou: number; readonly accuracy: number };
  readonly after: { readonly miou: number; readonly accuracy: number };
  /** Share of the regions in the words' embeddings; 0: they are those of the text. */
  readonly share: number;
}

/** The arrays of a file: those of words have a row for each word that has a classifier. */
export interface TaughtArrays {
  readonly weights: Float32Array;
  readonly bias: Float32Array;
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  readonly probe: Float32Array;
  /** What the words' embeddings are mixed with; null without a share. */
  readonly toward: Float32Array | null;
}

/** The bytes of a file. */
export function writtenTaughtFile(teaching: Teaching, arrays: TaughtArrays): Uint8Array<ArrayBuffer> {
  const { weights, bias, mean, scale, probe, toward } = arrays;
  const words = bias.length;
  const parts: [string, string, number[], Uint16Array | Float32Array][] = [
    ["weights", "F16", [words, mean.length], halves(weights)],
    ["bias", "F32", [words], bias],
    ["mean", "F32", [mean.length], mean],
    ["scale", "F32", [scale.length], scale],
    ["probe", "F32", [probe.length], probe],
  ];
  if (toward) parts.push(["toward", "F16", [words, words ? toward.length / words : 0], halves(toward)]);
  const entries: Record<string, object> = { __metadata__: { [HEADER]: JSON.stringify(recordOf(teaching)) } };
  let end = 0;
  for (const [name, dtype, shape, { byteLength }] of parts) {
    entries[name] = { dtype, shape, data_offsets: [end, end + byteLength] };
    end += byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(entries));
  const length = 8 * Math.ceil(text.length / 8);
  const content = new Uint8Array(8 + length + end).fill(0x20, 8, 8 + length);
  new DataView(content.buffer).setBigUint64(0, BigInt(length), true);
  content.set(text, 8);
  let at = 8 + length;
  for (const [, , , values] of parts) {
    content.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return content;
}

/** Python's `TeachingRecord` as JSON. */
function recordOf({ model, words, channels, images, penalty, before, after, share }: Teaching): object {
  return {
    model,
    words: words.map(({ name, images, pixels, before, after, keepsText }) => {
      return { name, images, pixels, before, after, keeps_text: keepsText };
    }),
    channels,
    images,
    penalty,
    miou_before: rounded(before.miou),
    miou: rounded(after.miou),
    accuracy_before: rounded(before.accuracy),
    accuracy: rounded(after.accuracy),
    segvoc: SEGVOC_VERSION,
    pyramid_channels: 0,
    share,
    format: FORMAT,
  };
}

function rounded(score: number): number {
  return Math.round(100 * score) / 100;
}
