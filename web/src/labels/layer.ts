/** Values of an image's pixels that change stretch by stretch, so that each change can be taken back. */

/** Numbers of a changed stretch: start, length, what its pixels had before, and what they have after it. */
export const STRETCH = 4;

/** Fill pixels, and write down the stretches of them that had something else. */
export function fillStretch(layer: Uint16Array, start: number, end: number, after: number, changes: number[]): void {
  for (let at = start; at < end;) {
    const before = layer[at],
      first = at;
    while (at < end && layer[at] === before) at++;
    if (before !== after) changes.push(first, at - first, before, after);
  }
  layer.fill(after, start, end);
}

/** Take changes back: the last one first, since a pixel may be in several. */
export function undoChanges(layer: Uint16Array, changes: Int32Array): void {
  for (let at = changes.length - STRETCH; at >= 0; at -= STRETCH)
    layer.fill(changes[at + 2], changes[at], changes[at] + changes[at + 1]);
}

export function redoChanges(layer: Uint16Array, changes: Int32Array): void {
  for (let at = 0; at < changes.length; at += STRETCH)
    layer.fill(changes[at + 3], changes[at], changes[at] + changes[at + 1]);
}
