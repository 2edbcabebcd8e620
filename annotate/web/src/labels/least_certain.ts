/** Where in an image the model is least certain: what to look at first. */

import type { Labeling } from "./labeling";
import { type Box, grown, type Point } from "./runs";

/** Squares between two places at least, and squares around one that are shown with it. */
const APART = 3,
  AROUND = 2;

/** Places of an image at most. */
const MOST = 30;

/** The mean doubt from which there is something to look at, in [0, 1]. */
const LEAST_DOUBT = 0.2;

export interface DoubtfulPlace extends Point {
  /** What to show of the image [px]. */
  readonly box: Box;
  /** Mean of 1 - confidence over its square, in [0, 1]; pixels that a person decided are certain. */
  readonly doubt: number;
}

/**
 * The places of an image in which the model doubts most, the worst first.
 *
 * They are the middles of squares of the tally with the highest sums of 1 - confidence, and keep a distance from each
 * other.
 *
 * @param least doubt that a place must have at least, in [0, 1]; without any, nothing is a place.
 */
export function doubtfulPlaces({ tally, width, height }: Labeling, most = MOST, least = LEAST_DOUBT): DoubtfulPlace[] {
  const { columns, side } = tally;
  const doubts = tally.doubt;
  const order = [...doubts.keys()].filter((square) => doubts[square]);
  order.sort((one, other) => doubts[other] - doubts[one] || one - other);
  const placeOf = (square: number): DoubtfulPlace => {
    const left = (square % columns) * side,
      top = Math.floor(square / columns) * side;
    const right = Math.min(width, left + side),
      bottom = Math.min(height, top + side);
    return {
      x: Math.floor((left + right) / 2),
      y: Math.floor((top + bottom) / 2),
      box: grown({ left, top, right, bottom }, AROUND * side, { width, height }),
      doubt: doubts[square] / (255 * (right - left) * (bottom - top)),
    };
  };
  const chosen: number[] = [];
  for (const square of order) {
    if (chosen.length === most) break;
    const isApart = chosen.every((other) => distance(square, other, columns) >= APART);
    if (isApart && placeOf(square).doubt >= least) chosen.push(square);
  }
  return chosen.map(placeOf);
}

/** Squares between two squares, along the longer axis. */
function distance(one: number, other: number, columns: number): number {
  const across = Math.abs((one % columns) - (other % columns)),
    down = Math.abs(Math.floor(one / columns) - Math.floor(other / columns));
  return Math.max(across, down);
}
