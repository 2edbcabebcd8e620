/** Maps of words that follow the edges in the image, as `segvoc.inference.edges` makes them. */

import * as ort from "onnxruntime-web/wasm";

import { regions } from "../labels/connected";
import { forRuns, pixelsOf } from "../labels/runs";
import { type Maps, strongestClass } from "./strongest_class";

/** The program that reads the image, in the folders of models whose features it reads: it gives weights of cells. */
export const EDGE_WEIGHTS = "edge_weights.onnx";

/** The program from these weights and maps to refined maps. */
export const EDGES = "edges.onnx";

const FEATURES = ["pixels", "tap_1", "tap_0", "appearance"];

/** Connected cells of one word that are less than this share of the image take the word around them. */
const ISLAND = 1e-3;

/** What refines maps of any words in an image. */
export async function edgeWeights(
  program: ort.InferenceSession,
  features: Readonly<Record<string, ort.Tensor>>,
): Promise<ort.Tensor> {
  const { weights } = await program.run(Object.fromEntries(FEATURES.map((name) => [name, features[name]])));
  return weights;
}

export async function refined(
  program: ort.InferenceSession,
  weights: ort.Tensor,
  { values, classes, rows, columns }: Maps,
): Promise<Maps> {
  const maps = new ort.Tensor("float32", values, [1, classes, rows, columns]);
  const { refined: fine } = await program.run({ weights, maps });
  return withoutIslands({ values: fine.data as Float32Array, classes, rows: fine.dims[2], columns: fine.dims[3] });
}

/** Give connected cells of one word that are few to the word most often beside them: their maps change places. */
export function withoutIslands(maps: Maps): Maps {
  const { values, classes, rows, columns } = maps;
  const cells = rows * columns;
  const { index: labels } = strongestClass(maps, rows, columns);
  const part = new Int32Array(cells), isSmall: boolean[] = [];
  for (const runs of regions(labels, { width: columns, height: rows })) {
    forRuns(runs, (cell) => (part[cell] = isSmall.length));
    isSmall.push(pixelsOf(runs) < ISLAND * cells);
  }
  if (!isSmall.includes(true) || !isSmall.includes(false)) return maps;
  /** By part and word: how often the word is beside it. */
  const beside = new Map<number, number>();
  const count = (cell: number, other: number) => {
    if (!isSmall[part[cell]] || isSmall[part[other]]) return;
    const key = part[cell] * classes + labels[other];
    beside.set(key, (beside.get(key) ?? 0) + 1);
  };
  for (let cell = 0; cell < cells; cell++)
    for (const other of [cell + columns, (cell + 1) % columns ? cell + 1 : cells]) {
      if (other >= cells) continue;
      count(cell, other);
      count(other, cell);
    }
  const taken = new Int32Array(isSmall.length).fill(-1);
  for (const [key] of [...beside].sort(([one, few], [other, many]) => few - many || one - other))
    taken[Math.floor(key / classes)] = key % classes; // the most frequent comes last, and so is kept
  for (let cell = 0; cell < cells; cell++) {
    const word = taken[part[cell]];
    if (word < 0) continue;
    const to = word * cells + cell, from = labels[cell] * cells + cell;
    [values[to], values[from]] = [values[from], values[to]];
  }
  return maps;
}
