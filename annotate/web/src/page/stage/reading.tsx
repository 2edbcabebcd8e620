/** The word and confidence of the pixel under the pointer or the cursor. */

import { css } from "../../imaging/palette";
import { NONE } from "../../labels/labeling";
import { firstName } from "../../labels/synonyms";
import type { OpenImage } from "../../session/open_image";
import type { StageControl } from "./control";
import { toStage } from "./view";

export function Reading({ control, image }: { control: StageControl; image: OpenImage }) {
  const labeling = image.labeling.value,
    pixel = control.pixel.value,
    cursor = control.cursor.value;
  void image.painted.value;
  // it would hide what is being painted
  const isAsked = control.tool.value.isReading;
  const found =
    isAsked && labeling && pixel !== null && cursor
      ? { labeling, pixel, place: toStage(control.view.value, cursor) }
      : null;
  const { width, height } = control.size.value;
  const isBelow = found !== null && found.place.y < height / 5;
  const across = found ? Math.max(80, Math.min(width - 80, found.place.x)) : 0;
  return (
    <output
      class={isBelow ? "reading below" : "reading"}
      aria-live="polite"
      hidden={!found}
      style={found ? { left: `${across}px`, top: `${found.place.y}px` } : {}}
    >
      {found && <Pixel labeling={found.labeling} pixel={found.pixel} />}
    </output>
  );
}

function Pixel({ labeling, pixel }: { labeling: NonNullable<OpenImage["labeling"]["value"]>; pixel: number }) {
  const label = labeling.labels[pixel],
    part = labeling.part(pixel);
  const confidence = `${Math.round(labeling.confidence(pixel) / 2.55)} %`;
  return (
    <>
      <span
        class={label === NONE ? "swatch none" : "swatch"}
        style={label === NONE ? {} : { background: css(labeling.colors[label]) }}
      />
      {label === NONE ? "without a word" : firstName(labeling.words[label])}
      {part !== NONE && `, ${labeling.found.parts!.names[part].part}`}{" "}
      <span class="confidence">{labeling.isCorrected(pixel) ? "corrected" : confidence}</span>
    </>
  );
}
