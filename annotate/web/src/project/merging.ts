/** Gives the pixels of a word to another one, and back. */

import { unpacked } from "../labels/layer";
import type { Size } from "../labels/runs";
import { indexed, withIds } from "./keeping";
import type { KeptDraft, KeptEdits, Work } from "./structure";
import { correctionsOf, editsOf, FIRST_WORD } from "./work_file";

/** The work in which pixels of a word have another one: all of them, or those that have the other one in `before`. */
export function exchanged(work: Work, size: Size, old: number, other: number, before: Work | null = null): Work {
  const exchange = (now: Uint16Array<ArrayBuffer>, earlier: Uint16Array | null | undefined, offset = 0) => {
    if (before && !earlier) return now;
    const [from, to] = [old + offset, other + offset];
    return now.map((id, at) => (id === from && (!earlier || earlier[at] === to) ? to : id));
  };
  const { draft, edits, settled } = work;
  const plane = draft && exchange(planeOf(draft), before?.draft && planeOf(before.draft));
  return {
    draft: draft && { ...draft, ...indexed(plane!, draft.ids) },
    edits: edits && exchangedEdits(edits, before && (before.edits ?? edits)),
    settled: settled && exchange(Uint16Array.from(settled), before?.settled),
  };

  function exchangedEdits(now: KeptEdits, earlier: KeptEdits | null): KeptEdits {
    const ids = (all: KeptEdits["ids"], places?: KeptEdits["ids"]) =>
      all.map((id, at) => (id === old && (!places || places[at] === other) ? other : id));
    const objects = { ...now.objects, ids: ids(now.objects.ids, earlier?.objects.ids) };
    // the history stays where all pixels change alike
    if (!earlier) return { ...now, ids: ids(now.ids), objects };
    const [layer, layerBefore] = [now, earlier].map((one) => unpacked(correctionsOf(one, size)));
    return editsOf(exchange(layer, layerBefore, FIRST_WORD), objects);
  }
}

function planeOf({ labels, ids }: KeptDraft): Uint16Array<ArrayBuffer> {
  return withIds(labels, ids);
}
