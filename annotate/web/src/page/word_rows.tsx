/** The list of words: those of the open image first, the largest first, with their shares; then, folded, those that it doesn't have. */

import { useState } from "preact/hooks";

import type { Figures, Word } from "../labels/labeling";
import { firstName, names } from "../labels/synonyms";
import { lookedFor } from "../project/words";
import type { OpenImage } from "../session/open_image";
import { Button, IconButton, RemoveButton, Swatch } from "./buttons";
import { type Page, percent, plural } from "./page";
import { WORD } from "./stage/keys";

/** Mean confidence below which perhaps none of the words is in the image: 0.03 to 0.11 on nonsense, 0.24 on photographs. */
const UNSURE = 0.12;

/** Most words of which those that an image doesn't have are in sight, too. */
const MOST_UNFOLDED = 15;

/** Expected share of right pixels from which nothing better is proposed, as in Python's hints. */
const GOOD = 0.6;

type Shown = Pick<Figures, "id" | "name" | "color">;

interface WordRowsProps {
  page: Page;
  isWanted: (word: Pick<Word, "name">) => boolean;
  /** Whether rows are narrowed to those that are wanted. */
  isNarrowed: boolean;
  onEdit: (word: Word) => void;
  onRemove: (word: Word) => void;
}

export function WordRows({ page, isWanted, isNarrowed, onEdit, onRemove }: WordRowsProps) {
  const { session } = page;
  /** null: nobody folded or unfolded them. */
  const [chosen, setOpen] = useState<boolean | null>(null);
  const image = session.current.value,
    labeling = image?.labeling.value;
  const words = lookedFor(session.settings.vocabulary.value);
  const found = image ? image.figures.value.filter(({ pixels }) => pixels).sort((one, other) => other.pixels - one.pixels) : [];
  const asked = new Set(labeling?.found.words);
  const others = words.filter(({ id }) => !found.some((one) => one.id === id));
  const row = (word: Shown, figures: Figures | null) => {
    const at = words.findIndex(({ id }) => id === word.id);
    const acts = { onEdit: () => onEdit(words[at]), onRemove: () => onRemove(words[at]) };
    return <WordRow key={word.id} page={page} image={image} word={word} number={at + 1} figures={figures} isHidden={!isWanted(word)} {...acts} />;
  };
  const absent = others.filter(({ id }) => asked.has(id));
  const isOpen = isNarrowed || (chosen ?? words.length <= MOST_UNFOLDED);
  const parts = image?.partFigures.value.filter(({ pixels }) => pixels) ?? [];
  const unlabeled = labeling ? labeling.labels.length - found.reduce((sum, { pixels }) => sum + pixels, 0) : 0;
  return (
    <>
      {words.length + found.length > 0 && (
        <ul class="word-rows" aria-label="Words">
          {found.length > 0 && (
            <li class="heads" aria-hidden="true">
              <span>share</span>
              <span>sure</span>
            </li>
          )}
          {found.map((figures) => row(figures, figures))}
          {unlabeled > 0 && <PlainRow color={null} name="unlabeled" fraction={unlabeled / labeling!.labels.length} />}
          {others.filter(({ id }) => !asked.has(id)).map((word) => row(word, null))}
        </ul>
      )}
      {absent.length > 0 && (
        <details open={isOpen}>
          <summary
            class="help"
            onClick={(event) => {
              event.preventDefault();
              if (!isNarrowed) setOpen(!isOpen);
            }}
          >
            Not found in this image ({absent.length})
          </summary>
          <ul class="word-rows" aria-label="Words that were not found">
            {absent.map((word) => row(word, null))}
          </ul>
        </details>
      )}
      {parts.length > 0 && (
        <>
          <h3 id="parts-found">Parts</h3>
          <ul class="word-rows" aria-labelledby="parts-found">
            {parts.map(({ id, ...part }) => (
              <PlainRow key={id} {...part} />
            ))}
          </ul>
        </>
      )}
      {image && labeling && <Hints page={page} image={image} quality={labeling.found.quality} />}
    </>
  );
}

interface HintsProps {
  page: Page;
  image: OpenImage;
  quality: number | null;
}

function Hints({ page: { session }, image, quality }: HintsProps) {
  const certainty = 1 - (image.item.summary.value.uncertainty ?? 0);
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
      <span class="pick">
        <Swatch color={color} />
      </span>
      <span class="name">{name}</span>
      <span class="share">{percent(fraction)}</span>
    </li>
  );
}

function Confidence({ value }: { value: number }) {
  const told = `Mean confidence: ${percent(value)}`;
  return (
    <span class="sure" role="meter" aria-label={told} title={told} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(100 * value)}>
      <span style={{ width: `${100 * value}%` }} />
    </span>
  );
}

interface WordRowProps {
  page: Page;
  image: OpenImage | null;
  word: Shown;
  /** Its place among the words that are looked for, which chooses it; 0: nobody looks for it any more. */
  number: number;
  /** null: the image doesn't show it. */
  figures: Figures | null;
  isHidden: boolean;
  onEdit: () => void;
  onRemove: () => void;
}

function WordRow({ page, image, word: { id, name, color }, number, figures, isHidden, onEdit, onRemove }: WordRowProps) {
  const { control, session } = page;
  const shown = firstName(name),
    more = names(name).length - 1;
  const key = session.settings.keys.value[WORD + shown]?.toUpperCase() ?? String(number);
  const isShown = !figures || session.visible(image!.labeling.value!)(id);
  const objects = figures ? image!.objects.value.filter(({ label }) => label === id).length : 0;
  const mayChange = session.store.may("annotate") && number > 0;
  const called = (
    <>
      {shown}
      {more > 0 && <span class="more">+{more}</span>}
    </>
  );
  const choose = () => number > 0 && control.choose(id);
  return (
    <li
      hidden={isHidden}
      class={`${isShown ? "" : "off"}${number > 0 ? " choosable" : ""}`}
      onClick={({ target }) => (target as Element).closest("button:not(.pick, .name)") ?? choose()}
    >
      {number > 0 ? (
        <button
          type="button"
          class="pick"
          aria-pressed={control.choice.value === id}
          aria-label={`${key}: choose ${shown} for the tools`}
          title={`Choose it for the tools (${key})`}
        >
          <kbd>{key}</kbd>
          <Swatch color={color} />
        </button>
      ) : (
        <span class="pick">
          <Swatch color={color} />
        </span>
      )}
      {number > 0 ? (
        <button type="button" class="name" title={`Choose it for the tools (${key})`}>
          {called}
        </button>
      ) : (
        <span class="name">{called}</span>
      )}
      {objects > 0 && <span class="objects">{plural(objects, "object")}</span>}
      {figures && (
        <>
          <span class="share">{percent(figures.fraction)}</span>
          <Confidence value={figures.confidence ?? 0} />
          <IconButton
            icon={isShown ? "look" : "hidden"}
            label={isShown ? `Hide ${shown}` : `Show ${shown}`}
            onClick={() => session.toggle(id)}
          />
        </>
      )}
      <span class="acts">
        {mayChange && <IconButton icon="rename" label={`Rename ${shown}`} help="or add synonyms" onClick={onEdit} />}
        {figures && <IconButton icon="only" label={`Show ${shown} alone`} isPressed={session.alone.value === id} onClick={() => session.isolate(id)} />}
        {mayChange && <RemoveButton name={shown} onClick={onRemove} />}
      </span>
    </li>
  );
}
