import assert from "node:assert/strict";
import { test } from "node:test";

import { signal } from "@preact/signals";

import { StageControl } from "../src/page/stage/control";
import { chooseWord, meaningOf, pressStage } from "../src/page/stage/keys";
import { beside, fitted, moved, toImage, zoomed } from "../src/page/stage/navigation";
import { inOrder, offered, optionsOf } from "../src/page/stage/word_choice";
import type { PolygonTool } from "../src/page/stage/tools/polygon";
import type { Clicker, Found } from "../src/onnx/clicker";
import { lookFor, type Settings } from "../src/session/settings";
import type { Point } from "../src/labels/runs";
import { context, found } from "./labeled";
import { CLICK } from "../src/page/stage/tool";
import { idle, Person, ProjectService, until } from "./project_service";

const IMAGE = { width: 400, height: 200 },
  STAGE = { width: 224, height: 324 };

test("the place under the pointer stays there while zooming, within limits", () => {
  const at = { x: 100, y: 150 };
  const before = fitted(IMAGE, STAGE),
    after = zoomed(before, 8, at, IMAGE, STAGE);
  assert.equal(after.scale, 4);
  const [one, other] = [toImage(before, at), toImage(after, at)];
  assert.ok(Math.hypot(one.x - other.x, one.y - other.y) < 1e-9);
  assert.equal(zoomed(after, 1e6, at, IMAGE, STAGE).scale, 40);
  assert.deepEqual(zoomed(after, 1e-6, at, IMAGE, STAGE), before);
});

test("an image can't be lost by moving it", () => {
  const view = { scale: 4, x: 0, y: 0 };
  assert.deepEqual(moved(view, 1e6, -1e6, IMAGE, STAGE), { scale: 4, x: 12, y: 324 - 800 - 12 });
  assert.deepEqual(moved(fitted(IMAGE, STAGE), 50, 50, IMAGE, STAGE), fitted(IMAGE, STAGE));
});

test("a dialog stands beside what it is about, within the window", () => {
  const window = { width: 1000, height: 600 },
    dialog = { width: 300, height: 400 };
  type Sides = readonly [number, number, number, number];
  const at = ([left, top, right, bottom]: Sides, place = { x: left, y: top }) => beside({ left, top, right, bottom }, place, dialog, window);
  const isApart = ({ x, y }: Point, [left, top, right, bottom]: Sides) =>
    x >= 8 && y >= 8 && x + 300 <= 992 && y + 400 <= 592 && (x >= right || x + 300 <= left || y >= bottom || y + 400 <= top);
  // in the middle, in corners, as long as the window is wide, and as high as it
  for (const box of [[450, 250, 550, 350], [0, 0, 100, 100], [900, 500, 1000, 600], [0, 0, 1000, 150], [400, 0, 600, 600]] satisfies Sides[])
    assert.ok(isApart(at(box), box), box.join());
  // of two sides the one that is nearer to the press
  assert.ok(at([400, 0, 600, 600], { x: 590, y: 300 }).x > 600 && at([400, 0, 600, 600], { x: 410, y: 300 }).x < 400);
  // of what is so large that its sides are far from the press, a part is covered
  const wide = { width: 1400, height: 900 },
    large = { left: 310, top: 0, right: 1400, bottom: 900 },
    press = { x: 900, y: 450 };
  const near = beside(large, press, dialog, wide);
  assert.ok([press.x + 12, press.x - 312].includes(near.x) && near.y <= press.y && near.y + 400 >= press.y, JSON.stringify(near));
  // what leaves no room is covered as little as can be
  assert.deepEqual(at([0, 0, 1000, 500], { x: 500, y: 490 }).y, 192);
});

test("in the list of a region, the words that were used last follow those of its image", () => {
  const options = [..."0123 "].map((key) => ({ key }));
  const keys = inOrder(options, ({ key }) => (key === "3" ? 9 : 0), [2, 3, 1]).map(({ key }) => key);
  assert.deepEqual(keys, ["3", "2", "1", "0", " "]);
});

test("a word is found by its number, and by letters of which some are wrong", () => {
  const vocabulary = signal(context(["sky", "mountain", "fountain, well", "5 cars", "car"]).vocabulary);
  const options = optionsOf({ vocabulary } as unknown as Settings, 0);
  const found = (text: string) => offered(options, text).map(({ text: name }) => name);
  assert.deepEqual(options.map(({ number }) => number), ["2", "3", "4", "5", undefined, undefined]);
  assert.deepEqual(["5", "2", "1", "9"].map(found), [["car", "5 cars"], ["mountain"], [], []]);
  assert.deepEqual(["moutain", "fuontain", "moun", "we", "no w"].map(found), [["mountain"], ["fountain"], ["mountain", "fountain"], ["fountain"], ["no word"]]);
  // another short word is no mistake
  assert.deepEqual(found("cat"), []);
});

test("keys that were changed mean what they were given, and nothing else", () => {
  const keys = { b: "p", "word car": "x" };
  assert.deepEqual(["p", "P", "b", "x", "v"].map((key) => meaningOf(keys, key)), ["b", "B", "", "word car", "v"]);
});

test("digits that follow each other choose a word beyond the ninth", () => {
  const chosen: unknown[] = [];
  const vocabulary = { value: context(Array.from({ length: 12 }, (_, at) => `word ${at + 1}`)).vocabulary };
  const typed = { value: null as StageControl["typed"]["value"] };
  const control = { session: { settings: { vocabulary } }, typed, choose: (word: unknown) => chosen.push(word) } as unknown as StageControl;
  const press = (key: string, time: number) => chooseWord(control, key, time);
  press("1", 100);
  assert.deepEqual([typed.value?.digits, chosen.pop()], ["1", 0]);
  assert.deepEqual([press("1", 1000), press("2", 1300), press("3", 1500), press("4", 3000), press("0", 9000)], [true, true, true, true, false]);
  assert.deepEqual([chosen, typed.value], [[0, 11, 2, 3], null]);
});

test("the mark of the open image changes together with the stage, and paging goes on from what is loading", async () => {
  const { session } = await Person.of(new ProjectService("a.png", "b.png", "c.png"));
  const [a, b, c] = session.items.value;
  const isShown = (item: typeof a) => session.chosen.value === item && session.current.value!.item === item;
  const opening = session.open(b);
  assert.ok(isShown(a));
  session.move(1);
  await opening;
  assert.ok(isShown(a));
  await until(() => isShown(c));
  session.close();
});

test("a stroke ends where it began, whatever is opened, removed or forbidden meanwhile", async () => {
  const service = new ProjectService("a.png", "b.png");
  const anna = await Person.of(service),
    ben = await Person.of(service);
  await anna.label("floor", "cat");
  await idle(anna, ben);
  const { session } = anna,
    [a, b] = session.items.value;
  const control = new StageControl(session, null);
  const brush = control.tools.find(({ label }) => label === "Brush")!;
  session.settings.radius.value = 0.5;
  control.choose(1);
  const at = (x: number) => ({ x: x + 0.5, y: 0.5 });
  assert.ok(brush.grab!(at(0), CLICK));
  const opening = session.open(b);
  await new Promise((resolve) => setTimeout(resolve, 200));
  brush.drag!(at(0), at(1));
  brush.drop!(CLICK);
  await opening;
  assert.equal(session.chosen.value, b);
  await idle(anna, ben);
  assert.deepEqual(service.labels("a.png").slice(0, 3), ["cat", "cat", "floor"]);
  // the right to paint ends before the stroke does
  await session.open(a);
  brush.grab!(at(3), CLICK);
  anna.store.role.value = "read";
  brush.drag!(at(3), at(4));
  brush.drop!(CLICK);
  assert.ok(!session.current.value!.edits.isBegun);
  anna.store.role.value = "administer";
  await idle(anna, ben);
  assert.deepEqual(service.labels("a.png").slice(3, 5), ["cat", "floor"]);
  brush.grab!(at(5), CLICK);
  await ben.session.remove(ben.session.items.value[0]);
  await until(() => session.current.value === null && anna.store.refused.value.length > 0);
  brush.drag!(at(5), at(5));
  brush.drop!(CLICK);
  await ben.session.putBack();
  await until(() => service.labels("a.png")[5] === "cat");
});

test("what is seen stays while something is pressed, and follows the layout after that", async () => {
  const { session } = await Person.of(new ProjectService("a.png"));
  const control = new StageControl(session, null);
  control.resize(STAGE);
  const before = control.view.value;
  control.press(true);
  control.resize({ ...STAGE, height: 100 });
  assert.deepEqual([control.view.value, control.size.value], [before, STAGE]);
  control.press(false);
  assert.equal(control.size.value.height, 100);
  assert.notDeepEqual(control.view.value, before);
  session.close();
});

test("what was begun is taken back by steps, and painted as one when another tool is chosen or the image is done", async () => {
  const service = new ProjectService("a.png", "b.png");
  const anna = await Person.of(service);
  await anna.label("floor", "cat");
  const { session } = anna;
  const answers: ((found: Found) => void)[] = [];
  const clicker = { click: () => new Promise((answer) => answers.push(answer)), look: async () => {} } as unknown as Clicker;
  const control = new StageControl(session, clicker);
  control.resize({ width: 1000, height: 100 });
  control.choose(1);
  const tool = (name: string) => control.tools.find(({ label }) => label === name)!;
  const painted = () => anna.labels.map((word) => Number(word === "cat")).join("");
  const before = painted(),
    clean = session.current.value!.edits.canUndo;
  control.select(tool("Polygon"));
  (tool("Polygon") as PolygonTool).isSnapping.value = false;
  for (const [x, y] of [[0, 0], [2, 0], [2, 1], [0, 1]]) tool("Polygon").tap!({ x, y }, CLICK);
  assert.equal(painted(), before);
  control.select(tool("Brush"));
  assert.equal(painted(), `11${before.slice(2)}`);
  control.retrace("undo");
  assert.deepEqual([painted(), session.current.value!.edits.canUndo], [before, clean]);
  // while something is begun, undo takes back a step of it
  anna.paint(2, "cat");
  control.select(tool("Polygon"));
  for (const x of [0, 3]) tool("Polygon").tap!({ x, y: 0.5 }, CLICK);
  const corners = () => (tool("Polygon") as PolygonTool).corners.value.length;
  for (const left of [1, 0]) {
    control.retrace("undo");
    assert.deepEqual([corners(), painted()], [left, `${before.slice(0, 2)}1${before.slice(3)}`]);
  }
  control.retrace("undo");
  assert.equal(painted(), before);
  // the answer to a click is waited for, and the object gets the word that was chosen then
  control.select(tool("Click an object"));
  tool("Click an object").tap!({ x: 3.5, y: 0.5 }, CLICK);
  control.select(tool("Brush"));
  control.choose(0);
  answers.shift()!({ runs: Int32Array.of(3, 1) } as Found);
  await until(() => painted() === `${before.slice(0, 3)}1${before.slice(4)}`);
  control.choose(1);
  control.select(tool("Click an object"));
  tool("Click an object").tap!({ x: 0.5, y: 0.5 }, CLICK);
  const [a] = session.items.value,
    done = control.done();
  assert.ok(!a.isDone.value);
  answers.shift()!({ runs: Int32Array.of(0, 1) } as Found);
  await done;
  assert.ok(a.isDone.value);
  assert.equal(session.chosen.value!.name, "b.png");
  await session.takeBackFinish();
  assert.deepEqual([session.chosen.value, a.isDone.value, session.finished.value], [a, false, null]);
  await control.done();
  await idle(anna);
  assert.deepEqual(service.labels("a.png").slice(0, 4), ["cat", "floor", "floor", "cat"]);
});

test("who accepts an image goes on to the next one that waits for a review", async () => {
  const anna = await Person.of(new ProjectService("a.png", "b.png", "c.png", "d.png"));
  const { session } = anna;
  const control = new StageControl(session, null);
  lookFor(session.settings, ["floor"]);
  const [a, b, c, d] = session.items.value;
  const key = (letter: string) => pressStage(control, { key: letter, timeStamp: 0 } as KeyboardEvent);
  assert.ok(!key("a") && !key("x"));
  for (const item of [a, c, d]) {
    await session.open(item);
    await session.take(item, found(["0".repeat(item.width)], ["floor"]), "question");
    await session.finish();
    await idle(anna);
  }
  await session.open(c);
  for (const [item, next] of [[c, d], [d, a]]) {
    assert.ok(key("a"));
    await until(() => item.summary.value.review !== null && session.chosen.value === next && session.current.value?.item === next);
  }
  // the last one stays open
  await session.review("accepted");
  await until(() => a.summary.value.review !== null);
  assert.deepEqual([session.chosen.value, b.isDone.value, key("a"), key("X"), control.isSendingBack.value], [a, false, false, true, true]);
  session.close();
});
