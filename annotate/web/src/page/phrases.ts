/** How numbers are read. */

/** A number with its noun. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A share as it is read: "13 %". */
export function percent(fraction: number): string {
  return fraction >= 0.01 || fraction === 0 ? `${Math.round(100 * fraction)} %` : "< 1 %";
}
