/** Small images of those entries of a long list that are in sight. */

import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useState } from "preact/hooks";

import type { Item } from "../session/item";

/** How many entries beside those in sight are there, too, so that scrolling shows no gaps. */
const BEYOND = 8;

/** How many there are before the size of the list is known. */
const AT_FIRST = 24;

/** A range of entries, and the room of those that are left out [px]. */
interface Range {
  readonly first: number;
  readonly last: number;
  readonly before: number;
  readonly after: number;
}

/** The address of an image's thumbnail, for as long as it is needed; null: not there yet. */
export function useThumbnail(item: Item): string | null {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    let isGone = false,
      made: string | null = null;
    const load = async () => {
      const content = await item.thumbnail().catch(() => null);
      if (isGone || !content) return;
      made = URL.createObjectURL(content);
      setAddress(made);
    };
    void load();
    return () => {
      isGone = true;
      if (made) URL.revokeObjectURL(made);
      setAddress(null);
    };
  }, [item]);
  return address;
}

/**
 * Which entries of a list that scrolls sideways are in sight; the chosen one is brought there.
 *
 * @param chosen its place; -1: none is.
 */
export function useVisible(list: RefObject<HTMLElement | null>, count: number, chosen: number): Range {
  const [range, setRange] = useState({ first: 0, last: AT_FIRST, width: 0 });

  const look = () => {
    const element = list.current;
    const width = element && entryWidth(element);
    if (!element || !width) return;
    const first = Math.max(0, Math.floor(element.scrollLeft / width) - BEYOND);
    const last = Math.ceil((element.scrollLeft + element.clientWidth) / width) + BEYOND;
    setRange((known) => (known.first === first && known.last === last && known.width === width ? known : { first, last, width }));
  };
  useEffect(() => {
    const element = list.current!;
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);
  useLayoutEffect(() => {
    const element = list.current;
    const width = element && entryWidth(element);
    if (!element || !width || chosen < 0) return look();
    const [start, end] = [chosen * width, (chosen + 1) * width];
    if (start < element.scrollLeft) element.scrollLeft = start;
    else if (end > element.scrollLeft + element.clientWidth) element.scrollLeft = end - element.clientWidth;
    look();
  }, [chosen, count]);

  const first = Math.min(range.first, Math.max(0, count - 1)),
    last = Math.min(range.last, count);
  return { first, last, before: first * range.width, after: (count - last) * range.width };
}

/** Width of an entry with the gap after it [px]; 0: there is none. */
function entryWidth(list: HTMLElement): number {
  const entry = list.querySelector<HTMLElement>(".entry");
  return entry ? entry.offsetWidth + Number.parseFloat(getComputedStyle(list).columnGap) : 0;
}
