/** Values of an image's pixels that change stretch by stretch, so that each change can be taken back. */

import { BAND, empty, packedBand, unpacked, type PackedLayer } from "./packed";

/** Numbers of a changed stretch: start, length, what its pixels had before, and what they have after it. */
export const STRETCH = 4;

export class Layer {
  /** Of all pixels; they change by the layer's methods alone. */
  readonly values: Uint16Array;
  /** The values as they are kept; null: they changed since. */
  private readonly bands: (PackedLayer["bands"][number] | null)[];

  constructor(kept: PackedLayer) {
    this.values = unpacked(kept);
    this.bands = [...kept.bands];
  }

  /** One of zeros. */
  static empty(pixels: number): Layer {
    return new Layer(empty(pixels));
  }

  /** Fill a stretch of pixels, and write down the parts of it that had something else. */
  fill(start: number, end: number, after: number, changes: number[]): void {
    const { values } = this;
    for (let at = start; at < end;) {
      const before = values[at],
        first = at;
      while (at < end && values[at] === before) at++;
      if (before !== after) changes.push(first, at - first, before, after);
    }
    this.set(start, end - start, after);
  }

  /** Take changes back: the last one first, since a pixel may be in several. */
  undo(changes: Int32Array): void {
    for (let at = changes.length - STRETCH; at >= 0; at -= STRETCH) this.set(changes[at], changes[at + 1], changes[at + 2]);
  }

  redo(changes: Int32Array): void {
    for (let at = 0; at < changes.length; at += STRETCH) this.set(changes[at], changes[at + 1], changes[at + 3]);
  }

  /** All values, which nothing changes any more. */
  get packed(): PackedLayer {
    const { bands, values } = this;
    for (const [number, band] of bands.entries()) bands[number] = band ?? packedBand(values, number);
    return { pixels: values.length, bands: [...bands] as PackedLayer["bands"] };
  }

  private set(start: number, length: number, value: number): void {
    this.values.fill(value, start, start + length);
    for (let number = Math.floor(start / BAND); number * BAND < start + length; number++) this.bands[number] = null;
  }
}
