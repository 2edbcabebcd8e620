/** The top of the page: where images are labeled, the look, and help. */

import type { Place, Theme } from "../session/settings";
import { Help } from "./help";
import { IconButton } from "./icons";
import type { Page } from "./page";
import { SavedState } from "./saved_state";

const PLACES: Readonly<Record<Place, string>> = { browser: "On this device", service: "Service" };
const NEXT: Readonly<Record<Theme, Theme>> = { system: "light", light: "dark", dark: "system" };

export function Header({ page }: { page: Page }) {
  const { place, theme } = page.session.settings;
  const { help } = page.control;
  return (
    <header class="top">
      <h1>
        <img src="icon.svg" alt="" />
        segvoc
      </h1>
      {page.places.length > 1 && (
        <div class="switch" role="radiogroup" aria-label="Where images are labeled">
          {page.places.map((one) => (
            <label key={one}>
              <input type="radio" name="place" checked={place.value === one} onChange={() => (place.value = one)} />
              <span>{PLACES[one]}</span>
            </label>
          ))}
        </div>
      )}
      <SavedState page={page} />
      <span class="gap" />
      {page.user && <UserField page={page} />}
      <IconButton
        icon={theme.value}
        label={`Colors: ${theme.value}`}
        onClick={() => (theme.value = NEXT[theme.value])}
      />
      <IconButton icon="help" label="Help" onClick={() => (help.value = true)} />
      {help.value && <Help control={page.control} onClose={() => (help.value = false)} />}
    </header>
  );
}

/** The name under which changes of a shared project are written down. */
function UserField({ page: { user } }: { page: Page }) {
  return (
    <label class="user">
      <span>Your name</span>
      <input
        type="text"
        autocomplete="name"
        value={user!.name}
        onChange={({ currentTarget: { value } }) => user!.change(value.trim())}
      />
    </label>
  );
}
