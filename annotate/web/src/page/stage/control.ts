/** The stage's tools, and what hands do with the one that is chosen. */

import { computed, effect, signal, type Signal, untracked } from "@preact/signals";

import type { Point } from "../../labels/runs";
import type { Clicker } from "../../onnx/clicker";
import type { Session } from "../../session/session";
import { Doubts } from "./navigation";
import { CLICK, type Key, Tool } from "./tool";
import { BrushTool } from "./tools/brush";
import { ClickTool } from "./tools/click";
import { ObjectsTool } from "./tools/objects";
import { PolygonTool } from "./tools/polygon";
import { EraserTool, RegionTool } from "./tools/region";
import { frameRegion, Workbench } from "./workbench";

export class StageControl extends Workbench {
  readonly tools: readonly Tool[];
  private readonly selected: Signal<Tool>;
  /** The tool that is chosen; where labels are locked, the first instead of one that changes them. */
  readonly tool = computed<Tool>(() => {
    const tool = this.selected.value;
    return tool.isEditing && !this.image ? this.tools[0] : tool;
  });
  readonly help = signal(false);
  /** The digits of a word's number that were typed, and when the last was [ms]; null: none is awaited. */
  readonly typed = signal<{ readonly digits: string; readonly at: number } | null>(null);
  /** Whether it is asked what has to be changed in the image, which is done. */
  readonly isSendingBack = signal(false);
  /** Whether drags move the image with any tool, while a key is held. */
  readonly isMoving = signal(false);
  /** Whether the image is shown alone, while a key or a button is held. */
  readonly isBare = signal(false);
  readonly doubts = new Doubts(this);

  /** @param clicker finds objects by clicks; null: this page can't. */
  constructor(session: Session, clicker: Clicker | null) {
    super(session);
    const look = new LookTool(this);
    this.selected = signal<Tool>(look);
    this.tools = [
      look,
      new RegionTool(this),
      ...(clicker ? [new ClickTool(this, clicker, () => this.selected.value.key === "c")] : []),
      new BrushTool(this),
      new PolygonTool(this),
      new ObjectsTool(this),
      new EraserTool(this),
    ];
    effect(() => {
      void session.current.value;
      untracked(() => this.leave());
    });
  }

  select(tool: Tool): void {
    void this.selected.value.finish();
    // tools that don't tell the word below the pointer paint one
    if (tool.isEditing && !tool.isReading) this.chooseBelow();
    this.selected.value = tool;
  }

  /** Leave what was begun; false: there was nothing. */
  leave(): boolean {
    return this.selected.value.leave();
  }

  override retrace(way: "undo" | "redo"): void {
    if (way === "redo" || !this.tool.value.takeBack?.()) super.retrace(way);
  }

  /** Mark the image as done, with what was begun on it. */
  async done(): Promise<void> {
    const { image } = this;
    await this.selected.value.finish();
    if (this.image === image) await this.session.finish();
  }

  act(): void {
    const tool = this.tool.value,
      at = this.cursor.value;
    if (at && tool.tap) tool.tap(at, CLICK);
    else if (at && tool.grab?.(at, CLICK)) tool.drop?.(CLICK);
  }
}

class LookTool extends Tool {
  readonly icon = "look";
  readonly label = "Look";
  readonly key = "v";
  readonly help = "Point at the image to read it.";
  override readonly keys: readonly Key[] = [
    ["Double click", "show the region as large as it fits; once more: the whole image"],
  ];
  override readonly pointer = "grab";
  override readonly isEditing = false;

  tapTwice(at: Point): void {
    frameRegion(this.work, at);
  }
}
