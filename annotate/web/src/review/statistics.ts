/** How far a project is, and how often its words are in it. */

import type { ImageState, ProjectWord } from "../project/structure";
import { progressOf, type Progress } from "./finding";

export interface Statistics {
  readonly images: number;
  /** Images by how far they are. */
  readonly progress: Readonly<Record<Progress, number>>;
  /** Share of the labeled images' pixels that a person decided, in [0, 1]; those of images that are done count. */
  readonly decided: number;
  /** In the order of the words. */
  readonly words: readonly WordStatistics[];
}

export interface WordStatistics {
  readonly word: ProjectWord;
  /** Images that show it, and those of them that are done. */
  readonly images: number;
  readonly done: number;
  /** Share of the labeled images' pixels, in [0, 1]. */
  readonly fraction: number;
  readonly objects: number;
}

/** @param words those to count; of removed words, those that labels still have. */
export function statistics(states: readonly ImageState[], words: readonly ProjectWord[]): Statistics {
  const progress: Record<Progress, number> = { "not labeled": 0, labeled: 0, corrected: 0, done: 0 };
  const counts = new Map(words.map(({ id }) => [id, { images: 0, done: 0, pixels: 0, objects: 0 }]));
  let all = 0,
    decided = 0;
  for (const state of states) {
    const reached = progressOf(state);
    progress[reached]++;
    if (reached === "not labeled") continue;
    all += state.width * state.height;
    decided += state.done ? state.width * state.height : state.corrected;
    for (const [id, pixels] of Object.entries(state.pixels)) {
      const count = counts.get(Number(id));
      if (!count || !pixels) continue;
      count.images++;
      count.done += Number(state.done);
      count.pixels += pixels;
      count.objects += state.objects?.[id] ?? 0;
    }
  }
  const share = (pixels: number) => (all ? pixels / all : 0);
  const figures = words.map((word): WordStatistics => {
    const { pixels, ...rest } = counts.get(word.id)!;
    return { word, ...rest, fraction: share(pixels) };
  });
  return {
    images: states.length,
    progress,
    decided: share(decided),
    words: figures.filter(({ word, images }) => !word.removed || images > 0),
  };
}
