/** Values of an image's pixels that change stretch by stretch, so that each change can be taken back, and how they are kept. */

/** Pixels of a band; the last one may have fewer. */
export const BAND = 1 << 18;

/** End and value of each of its stretches in turn; or the values of its pixels, where these take less room. */
type Band = Uint32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

export interface PackedLayer {
  readonly pixels: number;
  /** They don't change; layers may have some in common. */
  readonly bands: readonly Band[];
}

export function packed(values: Uint16Array): PackedLayer {
  const bands = Array.from({ length: Math.ceil(values.length / BAND) }, (_, number) => packedBand(values, number));
  return { pixels: values.length, bands };
}

function packedBand(values: Uint16Array, number: number): Band {
  const from = number * BAND,
    to = Math.min(values.length, from + BAND);
  // beyond that, run lengths take more room than the values
  const most = (to - from) / 4;
  const runs: number[] = [];
  for (let at = from; at < to && runs.length < 2 * most;) {
    const value = values[at];
    while (at < to && values[at] === value) at++;
    runs.push(at - from, value);
  }
  return runs.length < 2 * most || runs.at(-2) === to - from ? Uint32Array.from(runs) : values.slice(from, to);
}

export function unpacked({ pixels, bands }: PackedLayer): Uint16Array<ArrayBuffer> {
  const values = new Uint16Array(pixels);
  for (const [number, band] of bands.entries()) {
    const from = number * BAND;
    if (band instanceof Uint16Array) values.set(band, from);
    else
      for (let at = 0, start = 0; at < band.length; start = band[at], at += 2)
        values.fill(band[at + 1], from + start, from + band[at]);
  }
  return values;
}

/** The values of some pixels, from one up to another that isn't included. */
export function unpackedPart({ pixels, bands }: PackedLayer, from: number, to: number): Uint16Array<ArrayBuffer> {
  const first = Math.floor(from / BAND),
    end = Math.ceil(to / BAND);
  const values = unpacked({ pixels: Math.min(pixels, end * BAND) - first * BAND, bands: bands.slice(first, end) });
  return values.subarray(from - first * BAND, to - first * BAND);
}

/** From which pixel up to which two layers may differ, in whole bands; null: they are equal. */
export function difference(one: PackedLayer, other: PackedLayer): readonly [number, number] | null {
  const differ = [...one.bands.keys()].filter((at) => !isSameBand(one.bands[at], other.bands[at]));
  return differ.length ? [differ[0] * BAND, Math.min(one.pixels, (differ.at(-1)! + 1) * BAND)] : null;
}

function isSameBand(one: Band, other: Band): boolean {
  // layers that come from one another share bands
  if (one === other) return true;
  return one.constructor === other.constructor && one.length === other.length && one.every((value, at) => value === other[at]);
}

/** All values that occur among some of 16 bits, in order. */
export function valuesOf(values: Iterable<number>): number[] {
  const isThere = new Uint8Array(1 << 16);
  for (const value of values) isThere[value] = 1;
  return [...isThere.keys()].filter((value) => isThere[value]);
}

export function mapped({ pixels, bands }: PackedLayer, value: (before: number) => number): PackedLayer {
  return {
    pixels,
    bands: bands.map((band) =>
      band instanceof Uint16Array ? band.map(value) : band.map((number, at) => (at % 2 ? value(number) : number)),
    ),
  };
}

export function empty(pixels: number): PackedLayer {
  const bands = Array.from({ length: Math.ceil(pixels / BAND) }, (_, number) =>
    Uint32Array.of(Math.min(pixels - number * BAND, BAND), 0),
  );
  return { pixels, bands };
}

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

  /**
   * Take changes back, the last one first since a pixel may be in several, or make them again, where pixels still have what
   * they had then; returns what changed, as stretches.
   */
  retrace(changes: Int32Array, way: "undo" | "redo"): number[] {
    const { values } = this,
      changed: number[] = [];
    for (let step = 0; step < changes.length; step += STRETCH) {
      const place = way === "undo" ? changes.length - STRETCH - step : step;
      const [start, length, one, other] = changes.subarray(place, place + STRETCH);
      const [before, after] = way === "undo" ? [other, one] : [one, other];
      for (let at = start; at < start + length;) {
        const first = at,
          isOf = values[at] === before;
        while (at < start + length && (values[at] === before) === isOf) at++;
        if (!isOf) continue;
        changed.push(first, at - first, before, after);
        this.set(first, at - first, after);
      }
    }
    return changed;
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
