/** The tools, and the settings of the one that is chosen. */

import { HoldButton, IconButton } from "../icons";
import type { Page } from "../page";

export function Toolbar({ page }: { page: Page }) {
  const { control, session } = page;
  const { divider } = control;
  const tool = control.tool.value;
  const image = session.current.value;
  void [image?.painted.value, image?.finished.value];
  return (
    <div class="toolbar" role="toolbar" aria-label="Tools">
      <div class="group">
        {control.tools.map((one) => (
          <IconButton
            key={one.key}
            icon={one.icon}
            label={one.label}
            isPressed={one === tool}
            isDisabled={one.isEditing && !control.image}
            onClick={() => control.select(one)}
          />
        ))}
      </div>
      <div class="group">
        <IconButton icon="undo" label="Undo" isDisabled={!image?.edits.canUndo || !session.canCorrect.value} onClick={() => control.undo()} />
        <IconButton icon="redo" label="Redo" isDisabled={!image?.edits.canRedo || !session.canCorrect.value} onClick={() => control.redo()} />
      </div>
      <div class="group">
        <HoldButton
          icon="bare"
          label="Hold to see the image without its labels"
          onHold={(isHeld) => (control.isBare.value = isHeld)}
        />
        <IconButton
          icon="compare"
          label="Compare before and after"
          isPressed={divider.value !== null}
          onClick={() => (divider.value = divider.value === null ? 0.5 : null)}
        />
        <IconButton
          icon="doubt"
          label="Least certain place"
          isDisabled={!session.isLabeled.value}
          onClick={() => control.doubts.next()}
        />
      </div>
      <div class="options">{tool.options?.() ?? <span class="help">{tool.help}</span>}</div>
    </div>
  );
}
