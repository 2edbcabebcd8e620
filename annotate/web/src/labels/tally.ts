/** What an image's labels add up to, kept up to date stretch by stretch, so that no correction has to count all pixels. */

import type { Size } from "./runs";

/** Side of the squares whose doubt is added up, as a share of the image's shorter side. */
const SQUARE = 1 / 16;

/** Labels and parts are below it; the last one is that of no word, or no part. */
const PLACES = 65536;

/** All sums are of whole numbers, so that what is taken away leaves nothing behind. */
export class Tally {
  /** Pixels of each label. */
  readonly pixels = new Float64Array(PLACES);
  /** Confidence of each label's pixels, in [0, 255], added up. */
  readonly confidence = new Float64Array(PLACES);
  /** Pixels of each part; without parts, nothing is counted. */
  readonly parts = new Float64Array(PLACES);
  /** Pixels that a person decided. */
  corrected = 0;
  /** Side of the squares [px], and how many there are in a row. */
  readonly side: number;
  readonly columns: number;
  /** For each square, 255 - confidence of the pixels that nobody decided, added up, and how many these are. */
  readonly doubt: Float64Array;
  readonly undecided: Float64Array;

  constructor({ width, height }: Size) {
    this.side = Math.max(1, Math.round(SQUARE * Math.min(width, height)));
    this.columns = Math.ceil(width / this.side);
    const squares = this.columns * Math.ceil(height / this.side);
    this.doubt = new Float64Array(squares);
    this.undecided = new Float64Array(squares);
  }

  /** Count pixels that a person gave a label. @param count negative: they are taken away. */
  addCorrected(label: number, count: number): void {
    this.pixels[label] += count;
    this.confidence[label] += 255 * count;
    this.corrected += count;
  }
}
