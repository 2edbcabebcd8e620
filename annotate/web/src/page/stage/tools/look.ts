/** Reads the image, and moves it. */

import type { Point } from "../../../labels/runs";
import { frameRegion } from "../framing";
import type { Key, Tool } from "../tool";
import type { Workbench } from "../workbench";

export class LookTool implements Tool {
  readonly icon = "look";
  readonly label = "Look";
  readonly key = "v";
  readonly help = "Point at the image to read it.";
  readonly keys: readonly Key[] = [
    ["Double click", "show the region as large as it fits; once more: the whole image"],
  ];
  readonly pointer = "grab";
  readonly isEditing = false;
  readonly isReading = true;
  readonly seen = [];

  constructor(private readonly work: Workbench) {}

  tapTwice(at: Point): void {
    frameRegion(this.work, at);
  }

  leave(): boolean {
    return false;
  }
}
