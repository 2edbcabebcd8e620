/** Cells of labeled images, with what encoder and text say of them: all that learning words keeps of an image. */

import type { LabelMap } from "../backend";
import { addInterpolated, type FeatureMap } from "../onnx/feature_maps";
import { float16, halves } from "../onnx/float16";
import { NONE } from "../labels/labeling";
import type { Random } from "./random";

/** Cells that are kept in all, and of one image at most. */
const KEPT = 40_000, OF_AN_IMAGE = 500;

/** Where the label of a cell is looked for, in sixths of its height and width. */
const PLACES = [[3, 3], [1, 1], [1, 5], [5, 1], [5, 5], [1, 3], [3, 1], [3, 5], [5, 3]] as const;

/** Labeled cells of one or more images; arrays have a row for each cell. */
export interface Cells {
  readonly count: number;
  /** Features of the encoder, in 16 bits each: (count, channels). */
  readonly features: Uint16Array;
  readonly channels: number;
  /** The number of words. */
  readonly words: number;
  /** Logits of all words by their text alone: (count, words). */
  readonly byText: Float32Array;
  /** Logits by text mixed with regions in other images, for each share that is tried. */
  readonly mixed: readonly Float32Array[];
  /** Index of each cell's word, and of its image. */
  readonly labels: Int32Array;
  readonly images: Int32Array;
  /** How many labeled pixels of its image each cell stands for: cells of small regions are kept more often. */
  readonly weights: Float32Array;
}

/** Logits of all words on a grid: (words, rows, columns). */
export interface Logits {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** How many cells of each of so many images are kept, so that memory is bounded. */
export function cellsPerImage(images: number): number {
  return Math.max(1, Math.min(OF_AN_IMAGE, Math.floor(KEPT / images)));
}

/** The label of each cell of a grid: that of the first labeled pixel among nine in it, or 65535. */
export function labelsOfCells({ width, height, labels }: LabelMap, rows: number, columns: number): Uint16Array {
  const found = new Uint16Array(rows * columns).fill(NONE);
  for (let row = 0, cell = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, cell++) {
      for (const [down, across] of PLACES) {
        const y = Math.floor(((row * 6 + down) * height) / (6 * rows));
        const x = Math.floor(((column * 6 + across) * width) / (6 * columns));
        if ((found[cell] = labels[y * width + x]) !== NONE) break;
      }
    }
  }
  return found;
}

/**
 * Draw labeled cells of one image, words with fewer pixels more often: in proportion to pixels^-0.5.
 *
 * @param maps the image's features.
 * @param logits the words' logits by text; their grid is that of the cells.
 * @param mixed the logits by text and regions for each share that is tried, on the same grid.
 * @param image the image's index.
 * @param most cells to draw.
 * @returns null: the image has no labeled pixel.
 */
export function sampledCells(
  maps: readonly FeatureMap[],
  logits: Logits,
  mixed: readonly Logits[],
  labels: LabelMap,
  image: number,
  most: number,
  random: Random,
): Cells | null {
  const { rows, columns } = logits;
  const ofCells = labelsOfCells(labels, rows, columns);
  const labeled = Array.from(ofCells.keys()).filter((cell) => ofCells[cell] !== NONE);
  if (!labeled.length) return null;
  const words = logits.values.length / (rows * columns);
  const pixels = counts(labeled.map((cell) => ofCells[cell]), words);
  const chances = Float64Array.from(labeled, (cell) => pixels[ofCells[cell]] ** -0.5);
  const sum = chances.reduce((total, chance) => total + chance, 0);
  const drawn = random.choice(chances.map((chance) => chance / sum), Math.min(most, labeled.length));
  const cells = drawn.sort((one, other) => one - other).map((place) => labeled[place]);
  const names = Int32Array.from(cells, (cell) => ofCells[cell]);
  const kept = counts(names, words);
  return {
    count: cells.length,
    channels: maps.reduce((total, map) => total + map.channels, 0),
    features: featuresAt(maps, rows, columns, cells),
    words,
    byText: logitsAt(logits, words, cells),
    mixed: mixed.map((one) => logitsAt(one, words, cells)),
    labels: names,
    images: new Int32Array(cells.length).fill(image),
    weights: Float32Array.from(names, (name) => pixels[name] / kept[name]),
  };
}

/** The cells of several images, one after the other. */
export function joinedCells(several: readonly Cells[]): Cells {
  const [{ channels, words, mixed }] = several;
  const floats = (of: (cells: Cells) => Float32Array) => joined(Float32Array, several.map(of));
  return {
    count: several.reduce((sum, { count }) => sum + count, 0),
    channels,
    words,
    features: joined(Uint16Array, several.map((cells) => cells.features)),
    byText: floats((cells) => cells.byText),
    mixed: mixed.map((_, share) => floats((cells) => cells.mixed[share])),
    labels: joined(Int32Array, several.map((cells) => cells.labels)),
    images: joined(Int32Array, several.map((cells) => cells.images)),
    weights: floats((cells) => cells.weights),
  };
}

/**
 * The cells' logits for a share of the regions, (count, words).
 *
 * @param share 0 for text alone, and from 1 on the shares that are tried.
 * @param keepText words that keep those by text.
 */
export function logitsOf({ byText, mixed, words }: Cells, share: number, keepText: readonly number[] = []): Float32Array {
  if (!share) return byText;
  const logits = mixed[share - 1].slice();
  for (const word of keepText) for (let at = word; at < logits.length; at += words) logits[at] = byText[at];
  return logits;
}

/** How often each number occurs. */
export function counts(numbers: ArrayLike<number>, most: number): Float64Array {
  const found = new Float64Array(most);
  for (let at = 0; at < numbers.length; at++) found[numbers[at]]++;
  return found;
}

/** The features at some cells of a grid: each map interpolated bilinearly to the grid, one after the other. */
function featuresAt(maps: readonly FeatureMap[], rows: number, columns: number, cells: readonly number[]): Uint16Array {
  const all = maps.reduce((sum, { channels }) => sum + channels, 0);
  const found = new Float32Array(cells.length * all);
  const plane = new Float32Array(rows * columns);
  let first = 0;
  for (const map of maps) {
    const own = map.rows * map.columns;
    for (let channel = 0; channel < map.channels; channel++, first++) {
      plane.fill(0);
      addInterpolated(plane, map.values.subarray(channel * own, (channel + 1) * own), map, rows, columns);
      for (let at = 0, to = first; at < cells.length; at++, to += all) found[to] = plane[cells[at]];
    }
  }
  return halves(found);
}

/** The logits at some cells, rounded as Python keeps them. */
function logitsAt({ values, rows, columns }: Logits, words: number, cells: readonly number[]): Float32Array {
  const found = new Float32Array(cells.length * words);
  for (const [at, cell] of cells.entries())
    for (let word = 0; word < words; word++) found[at * words + word] = values[word * rows * columns + cell];
  return float16(halves(found));
}

type Numbers = Uint16Array | Int32Array | Float32Array;

function joined<Kind extends Numbers>(Kind: new (length: number) => Kind, several: readonly Kind[]): Kind {
  const all = new Kind(several.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const one of several) {
    all.set(one, at);
    at += one.length;
  }
  return all;
}
