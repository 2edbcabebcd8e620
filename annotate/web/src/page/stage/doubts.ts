/** Leads from one place of the open image to the next in which the model doubts. */

import type { Labeling } from "../../labels/labeling";
import { doubtfulPlaces, type DoubtfulPlace } from "../../labels/least_certain";
import type { Box } from "../../labels/runs";
import type { Navigation } from "./navigation";

export class Doubts {
  private labeling: Labeling | null = null;
  /** Places that were looked at. */
  private seen: DoubtfulPlace[] = [];

  constructor(private readonly navigation: Navigation) {}

  /** Look at the place with the most doubt that wasn't looked at yet, then again from the first; false: none is left. */
  next(): boolean {
    const labeling = this.navigation.session.current.value?.labeling.value ?? null;
    if (labeling !== this.labeling) this.seen = [];
    this.labeling = labeling;
    const places = labeling ? doubtfulPlaces(labeling) : [];
    const isNew = (place: DoubtfulPlace) => !this.seen.some(({ box }) => isInside(place, box));
    let place = places.find(isNew);
    if (!place) {
      this.seen = [];
      place = places[0];
    }
    if (!place) return false;
    this.seen.push(place);
    this.navigation.frame(place.box);
    this.navigation.cursor.value = { x: place.x + 0.5, y: place.y + 0.5 };
    return true;
  }
}

function isInside({ x, y }: DoubtfulPlace, { left, top, right, bottom }: Box): boolean {
  return x >= left && x < right && y >= top && y < bottom;
}
