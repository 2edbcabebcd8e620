/** How far the project is, and how often each of its words is in it. */

import { css } from "../imaging/palette";
import { firstName } from "../labels/synonyms";
import { statistics } from "../review/statistics";
import { Dialog } from "./dialog";
import type { Page } from "./page";
import { percent, plural } from "./phrases";

export function ProgressDialog({ page: { session }, onClose }: { page: Page; onClose: () => void }) {
  const { images, progress, decided, words } = statistics(
    session.items.value.map(({ summary }) => summary.value),
    session.settings.vocabulary.value,
  );
  const hasObjects = words.some(({ objects }) => objects > 0);
  return (
    <Dialog title="Progress" onClose={onClose}>
      <p>
        {progress.done} of {plural(images, "image")} done, {progress.corrected} corrected, {progress.labeled} labeled by
        the model alone, {progress["not labeled"]} not labeled.
      </p>
      <progress aria-label="Images that are done" max={Math.max(1, images)} value={progress.done} />
      <p class="help">People decided {percent(decided)} of the labeled pixels.</p>
      {words.length > 0 && (
        <div class="figures" tabIndex={0} role="region" aria-label="Words">
          <table>
            <thead>
              <tr>
                <th scope="col">Word</th>
                <th scope="col">Pixels</th>
                <th scope="col">Images</th>
                <th scope="col">Done</th>
                {hasObjects && <th scope="col">Objects</th>}
              </tr>
            </thead>
            <tbody>
              {words.map(({ word, fraction, images: shown, done, objects }) => (
                <tr key={word.id}>
                  <th scope="row">
                    <button
                      type="button"
                      class="link"
                      title="List the images that show it"
                      onClick={() => {
                        session.listing.look({ word: word.id });
                        onClose();
                      }}
                    >
                      <span class="swatch" style={{ background: css(word.color) }} /> {firstName(word.name)}
                    </button>
                  </th>
                  <td>{percent(fraction)}</td>
                  <td>{shown}</td>
                  <td>{done}</td>
                  {hasObjects && <td>{objects}</td>}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Dialog>
  );
}
