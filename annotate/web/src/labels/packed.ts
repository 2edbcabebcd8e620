/**
 * The values of an image's pixels as they are kept: run lengths in bands, so that after a change only the bands are
 * packed again in which something changed.
 */

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
  const bands = Array.from({ length: bandsOf(values.length) }, (_, number) => packedBand(values, number));
  return { pixels: values.length, bands };
}

/** The values of one band. */
export function packedBand(values: Uint16Array, number: number): Band {
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

/** The layer with other values. */
export function mapped({ pixels, bands }: PackedLayer, value: (before: number) => number): PackedLayer {
  return {
    pixels,
    bands: bands.map((band) =>
      band instanceof Uint16Array ? band.map(value) : band.map((number, at) => (at % 2 ? value(number) : number)),
    ),
  };
}

/** A layer of zeros. */
export function empty(pixels: number): PackedLayer {
  const bands = Array.from({ length: bandsOf(pixels) }, (_, number) =>
    Uint32Array.of(Math.min(pixels - number * BAND, BAND), 0),
  );
  return { pixels, bands };
}

function bandsOf(pixels: number): number {
  return Math.ceil(pixels / BAND);
}
