/** Chooses the word of the tools by its letters. */

import { Dialog } from "../dialog";
import type { Page } from "../page";
import { WordList } from "../word_list";
import { choiceOf, optionsOf } from "./word_options";

export function WordFinder({ page: { control, session } }: { page: Page }) {
  const { finding } = control;
  const close = () => (finding.value = false);
  return (
    <Dialog title="The word of the tools" onClose={close}>
      <WordList
        label="Find a word"
        options={optionsOf(session.settings, null)}
        onKeep={close}
        onChoose={(key) => {
          control.choose(choiceOf(key));
          close();
        }}
      />
    </Dialog>
  );
}
