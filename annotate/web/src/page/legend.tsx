/** The words that were found, largest first, with their shares; each can be hidden, or shown alone. */

import type { Figures } from "../labels/labeling";
import { firstName } from "../labels/synonyms";
import { lookedFor } from "../project/words";
import type { OpenImage } from "../session/open_image";
import type { Session } from "../session/session";
import { Button, IconButton, Swatch } from "./buttons";
import { type Page, percent, plural } from "./page";

/** Mean confidence below which perhaps none of the words is in the image: 0.03 to 0.11 on nonsense, 0.24 on photographs. */
const UNSURE = 0.12;

/** Expected share of right pixels from which nothing better is proposed, as in Python's hints. */
const GOOD = 0.6;

export function Legend({ page: { session } }: { page: Page }) {
  const image = session.current.value,
    labeling = image?.labeling.value;
  if (!image || !labeling) return <p class="help">The words that are found appear here.</p>;
  const all = [...image.figures.value].sort((one, other) => other.pixels - one.pixels);
  const looked = new Set(lookedFor(session.settings.vocabulary.value).map(({ id }) => id));
  const absent = all.filter(({ id, pixels }) => !pixels && looked.has(id));
  const isShown = session.visible(labeling);
  const parts = image.partFigures.value.filter(({ pixels }) => pixels);
  const certainty = 1 - (image.item.summary.value.uncertainty ?? 0);
  const { quality } = labeling.found;
  const unlabeled = labeling.labels.length - all.reduce((sum, { pixels }) => sum + pixels, 0);
  return (
    <>
      {certainty < UNSURE && (
        <p class="help" role="status">
          Unsure: mean confidence {certainty.toFixed(2)}; perhaps none of these words is in the image.
        </p>
      )}
      {quality !== null && quality < GOOD && certainty >= UNSURE && (
        <p class="help" role="status">
          Many of these labels may be wrong (expected accuracy {percent(quality)}): a larger network labels this image
          better; so does this one after <i>Improve</i> has taught it from a few images that are done, or your clicks.
        </p>
      )}
      <ul class="legend" aria-labelledby="legend">
        {all
          .filter(({ pixels }) => pixels)
          .map((entry) => (
            <LegendRow key={entry.id} session={session} entry={entry} image={image} isShown={isShown(entry.id)} />
          ))}
        {unlabeled > 0 && <PlainRow color={null} name="unlabeled" fraction={unlabeled / labeling.labels.length} />}
      </ul>
      {parts.length > 0 && (
        <>
          <h3 id="parts-found">Parts</h3>
          <ul class="legend" aria-labelledby="parts-found">
            {parts.map(({ id, ...part }) => (
              <PlainRow key={id} {...part} />
            ))}
          </ul>
        </>
      )}
      {absent.length > 0 && <p class="help">Not found: {absent.map(({ name }) => firstName(name)).join(", ")}</p>}
      {image.edits.canUndo && session.canCorrect.value && (
        <Button
          text="Take back all corrections"
          kind="link"
          onClick={() => {
            image.step("clear");
            session.keepEdits(image);
          }}
        />
      )}
    </>
  );
}

function PlainRow({ color, name, fraction }: { color: readonly number[] | null; name: string; fraction: number }) {
  return (
    <li>
      <span class="name plain">
        <Swatch color={color} />
        {name}
      </span>
      <span class="share">{percent(fraction)}</span>
    </li>
  );
}

interface LegendRowProps {
  session: Session;
  image: OpenImage;
  entry: Figures;
  isShown: boolean;
}

function LegendRow({ session, image, entry: { id, name, color, fraction, confidence }, isShown }: LegendRowProps) {
  const shown = firstName(name);
  const objects = image.objects.value.filter(({ label }) => label === id).length;
  return (
    <li class={isShown ? "" : "off"}>
      <button
        type="button"
        class="name"
        aria-pressed={session.alone.value === id}
        aria-label={`Show ${shown} alone`}
        title="Show it alone"
        onClick={() => session.isolate(id)}
      >
        <Swatch color={color} />
        {shown}
      </button>
      {objects > 0 && <span class="share objects">{plural(objects, "object")}</span>}
      <span class="share">{percent(fraction)}</span>
      <span class="share" title="Mean confidence">
        {percent(confidence ?? 0)} sure
      </span>
      <IconButton
        icon={isShown ? "look" : "hidden"}
        label={isShown ? `Hide ${shown}` : `Show ${shown}`}
        onClick={() => session.toggle(id)}
      />
    </li>
  );
}
