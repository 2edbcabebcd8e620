/** How different colors look, also to the color-blind: as `segvoc.imaging.color_vision` has it. */

import type { Color } from "./palette";

type Matrix = readonly (readonly [number, number, number])[];

const RGB_TO_CONES: Matrix = [
  [0.41222147, 0.53633254, 0.05144599],
  [0.2119035, 0.68069955, 0.10739696],
  [0.08830246, 0.28171884, 0.6299787],
];
const CONES_TO_OKLAB: Matrix = [
  [0.21045426, 0.79361779, -0.00407205],
  [1.9779985, -2.42859221, 0.45059371],
  [0.02590404, 0.78277177, -0.80867577],
];

/** What linear RGB looks like to those without one kind of cones (Machado, Oliveira and Fernandes 2009). */
const COLOR_BLINDNESS: readonly Matrix[] = [
  [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
];

/** Distance in OKLab from which colors can be told apart, to whom all look different and to whom some look alike. */
const CLEAR = 0.1,
  CLEAR_TO_COLOR_BLIND = 0.05;

/** Weight of lightness where hue tells, too: the photograph's own light and shade hide differences in it. */
const LIGHTNESS = 0.6;

/** Lightness from which stripes on a color are dark. */
const LIGHT = 0.7;

/** Whether two colors are hard to tell apart on a photograph, for most people or for the color-blind. */
export function lookAlike(one: Color, other: Color): boolean {
  if (distance(oklab(one), oklab(other), LIGHTNESS) < CLEAR) return true;
  return COLOR_BLINDNESS.some((vision) => distance(oklab(one, vision), oklab(other, vision), 1) < CLEAR_TO_COLOR_BLIND);
}

/** RGB of stripes that can be seen on a color. */
export function stripeColor(color: Color): Color {
  const ink = oklab(color)[0] > LIGHT ? 0 : 255;
  return color.map((value) => (value + ink) >> 1) as unknown as Color;
}

function oklab(color: Color, vision?: Matrix): number[] {
  let linear = color.map((value) =>
    value <= 0.04045 * 255 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
  );
  if (vision) linear = times(vision, linear).map((value) => Math.max(0, Math.min(1, value)));
  return times(CONES_TO_OKLAB, times(RGB_TO_CONES, linear).map(Math.cbrt));
}

function times(matrix: Matrix, [x, y, z]: readonly number[]): number[] {
  return matrix.map(([one, two, three]) => one * x + two * y + three * z);
}

function distance(one: readonly number[], other: readonly number[], lightness: number): number {
  return Math.hypot(lightness * (one[0] - other[0]), one[1] - other[1], one[2] - other[2]);
}
