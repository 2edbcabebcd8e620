/** The files of taught words: those that the model has, and those that the reader gives it. */

import type { TaughtFile } from "../backend";
import { FileButton } from "./file_button";
import { Icon } from "./icons";
import type { Page } from "./page";
import { plural } from "./phrases";

export function TaughtField({ page: { session, labeler } }: { page: Page }) {
  const model = session.model.value;
  if (!model) return null;
  const takesFiles = Boolean(labeler.backend?.teach);
  const given = takesFiles ? session.taught.files.value : [];
  if (!takesFiles && !model.taught.length) return null;

  return (
    <div class="taught">
      <h3 id="taught">Taught words</h3>
      {model.taught.length + given.length > 0 && (
        <ul aria-labelledby="taught">
          {model.taught.map((file) => (
            <li key={`own ${file.id}`}>
              <About file={file} />
            </li>
          ))}
          {given.map((file) => (
            <li key={file.id}>
              <About file={file} />
              <button
                type="button"
                class="remove"
                aria-label={`Remove ${file.name}`}
                onClick={() => void session.taught.remove(file)}
              >
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
      {takesFiles && (
        <FileButton
          label="Add taught words"
          icon="plus"
          accept=".safetensors"
          onFiles={(files) => void labeler.teach(files)}
        />
      )}
      {takesFiles && !given.length && (
        <p class="help">
          Files of <code>segvoc teach</code> let words be known by examples, too; they can be dropped.
        </p>
      )}
    </div>
  );
}

function About({ file: { name, words } }: { file: TaughtFile }) {
  return (
    <span class="about" title={words.join(", ")}>
      <span class="file-name">{name || words.join(", ")}</span>
      <span class="more">{plural(words.length, "word")}</span>
    </span>
  );
}
