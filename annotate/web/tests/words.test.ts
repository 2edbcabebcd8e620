import assert from "node:assert/strict";
import { test } from "node:test";

import { MOST_WORDS } from "../src/imaging/palette";
import { folded, promoted, sameClass } from "../src/labels/synonyms";
import { objectsOf, partsOf, partsProblem, renamed, splitWords, takenBy, typed } from "../src/words/list";
import { withoutPart, withWords, wordsOfFile } from "../src/words/list";
import { context } from "./labeled";

for (const [text, words] of [
  [" cat, traffic light ,wall,,", ["cat", "traffic light", "wall"]],
  ["sofa = couch=settee, wall =", ["sofa, couch, settee", "wall"]],
  [" , ", []],
  // several lines are a words file: a class each, with synonyms between commas
  ["cat\nsofa, couch\r\n\nwall", ["cat", "sofa, couch", "wall"]],
  ["cat,\ndog,", ["cat", "dog"]],
  ["cat, dog\n", ["cat", "dog"]],
  // what only begins like a JSON list is a word
  ['["cat", "sofa, couch", ""]', ["cat", "sofa, couch"]],
  ["[cat", ["[cat"]],
  ["[1]", ["[1]"]],
] as const) {
  test(`${JSON.stringify(text)} has ${words.length} words`, () => assert.deepEqual(splitWords(text), words));
}

test("a file has a list of words, or none", () => {
  assert.deepEqual(wordsOfFile("a.json", '["cat"]'), ["cat"]);
  assert.deepEqual(wordsOfFile("a.json", '{"cat": 1}'), []);
  assert.deepEqual(wordsOfFile("a.txt", "cat\ndog"), ["cat", "dog"]);
});

test("a word is taken once, and the reader is told", () => {
  assert.deepEqual(withWords(["cat"], ["dog", "cat"]), {
    words: ["cat", "dog"],
    note: "“cat” is already among the words.",
  });
  assert.equal(withWords([], ["dog", "dog, hound"]).note, "“dog” is already among the words.");
  assert.equal(withWords(["cat"], ["dog"]).note, null);
});

test("words past the limit are left out, and the reader is told", () => {
  const many = Array.from({ length: MOST_WORDS + 5 }, (_, at) => `word ${at}`);
  const { words, note } = withWords(["cat"], many);
  assert.equal(words.length, MOST_WORDS);
  assert.match(note!, /1023 words/);
});

test("a class gets other names, unless they are taken or empty", () => {
  const { vocabulary } = context(["cat", "sofa"]);
  assert.equal(renamed(vocabulary, 1, "couch = sofa"), "couch, sofa");
  assert.deepEqual(["CAT", " = ", "sofa"].map((text) => renamed(vocabulary, 1, text)), [null, null, null]);
  assert.equal(renamed(vocabulary, 1, "Sofa"), "Sofa");
  assert.equal(takenBy(vocabulary, 1, "Cat")!.id, 0);
  assert.equal(typed("sofa, couch"), "sofa = couch");
  assert.equal(promoted("sofa, couch, settee", "couch"), "couch, sofa, settee");
});

test("names are compared as the service does", () => {
  // of each group, segvoc.vocabulary.folded makes one
  for (const group of [["cat", "Cat", " CAT\u00a0", "cat\x1f"], ["é", "e\u0301", "É"], ["straße", "STRASSE", "straẞe"], ["ΟΔΟΣ", "οδος", "οδοσ"], ["İ", "i\u0307"]])
    assert.equal(new Set(group.map(folded)).size, 1, group.join());
  for (const [one, other] of [["ı", "i"], ["e", "é"], ["cat", "cats"]]) assert.notEqual(folded(one), folded(other));
  assert.deepEqual(withWords(["cat"], ["Cat"]).words, ["cat"]);
  assert.deepEqual(splitWords("e\u0301 , dog"), ["é", "dog"]);
});

test("spellings with a name in common are one class", () => {
  assert.ok(sameClass("sofa, couch", "couch"));
  assert.ok(!sameClass("sofa, couch", "cat"));
});

for (const [text, problem] of [
  ["dog: head, leg; *: tail", null],
  ["  ", null],
  ["dog: head;", /semicolon too many/],
  ["dog", /no colon/],
  [": head", /no object/],
  ["dog: head, cat: leg", /two colons/],
  ["dog: head; dog: leg", /“dog” is there twice/],
  ["dog: head,", /part of “dog” is empty/],
  ["dog: head, head", /“head” of “dog” is there twice/],
] as const) {
  test(`parts “${text}” are ${problem ? "refused" : "taken"}`, () => {
    const found = partsProblem(text);
    if (problem) assert.match(found!, problem);
    else assert.equal(found, null);
  });
}

test("the objects of parts are words", () => {
  assert.deepEqual(objectsOf("dog: head, leg; *: tail;  car : door"), ["dog", "car"]);
  assert.deepEqual(objectsOf(" "), []);
  const [, leg] = partsOf("dog: head, leg; *: tail");
  assert.deepEqual(leg, { object: "dog", part: "leg" });
  assert.equal(withoutPart("dog: head, leg;*:tail", leg), "dog: head; *: tail");
  assert.equal(withoutPart("dog: leg", leg), "");
});
