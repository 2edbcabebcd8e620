/** COCO's compressed run lengths of a mask, column by column. */

/**
 * The counts of a class's pixels, as pycocotools reads them.
 *
 * @param labels index of each pixel's class, row by row.
 */
export function compressedCounts(labels: Uint16Array, width: number, height: number, label: number): string {
  const counts: number[] = [];
  let isInside = false,
    length = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0, at = x; y < height; y++, at += width, length++) {
      if ((labels[at] === label) === isInside) continue;
      counts.push(length);
      isInside = !isInside;
      length = 0;
    }
  }
  counts.push(length);
  return compressed(counts);
}

/** Five bits a character, as differences to the count before the last one. */
function compressed(counts: readonly number[]): string {
  const bytes: string[] = [];
  for (const [at, count] of counts.entries()) {
    let rest = at > 2 ? count - counts[at - 2] : count;
    for (let isLast = false; !isLast;) {
      const bits = rest & 31;
      rest >>= 5;
      isLast = bits & 16 ? rest === -1 : rest === 0;
      bytes.push(String.fromCharCode((isLast ? bits : bits | 32) + 48));
    }
  }
  return bytes.join("");
}
