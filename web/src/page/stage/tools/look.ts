/** Reads the image, and moves it. */

import type { Tool } from "../tool";

export class LookTool implements Tool {
  readonly icon = "look";
  readonly label = "Look";
  readonly key = "v";
  readonly help = "Point at the image to read it.";
  readonly keys = [];
  readonly pointer = "grab";
  readonly isEditing = false;
  readonly isReading = true;
  readonly seen = [];

  leave(): boolean {
    return false;
  }
}
