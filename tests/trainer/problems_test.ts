import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Cursor, shuffled } from "../../trainer/problems.ts";

const ITEMS = Array.from({ length: 7 }, (_, i) => i);

Deno.test("problems: a cursor takes every item once an epoch, in another order each time", () => {
  const cursor = new Cursor(ITEMS, 3);
  const epochs = [cursor.take(7), cursor.take(7), cursor.take(7)];
  for (const epoch of epochs) assertEquals([...epoch].sort(), ITEMS);
  assertNotEquals(epochs[0], epochs[1]);
  assertEquals(new Cursor(ITEMS, undefined).take(10), [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]);
});

Deno.test("problems: a cursor set to a place goes on as the one that walked there", () => {
  const walked = new Cursor(ITEMS, 3);
  walked.take(11);
  const placed = new Cursor(ITEMS, 3);
  placed.taken = 11;
  assertEquals(placed.take(13), walked.take(13));
});

Deno.test("problems: a shuffle depends on its path only", () => {
  assertEquals(shuffled(ITEMS, 1, 0), shuffled(ITEMS, 1, 0));
  assert(JSON.stringify(shuffled(ITEMS, 1, 0)) !== JSON.stringify(shuffled(ITEMS, 1, 1)));
});
