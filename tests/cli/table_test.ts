import { assert, assertEquals, assertThrows } from "@std/assert";
import { renderTable } from "../../cli/table.ts";

Deno.test("table: plain, numbers to the right", () => {
  assertEquals(
    renderTable(["model", "easy"], [["base", 0.5], ["AEPO", "0.95"]], { colour: false }),
    [
      "┌───────┬──────┐",
      "│ model │ easy │",
      "├───────┼──────┤",
      "│ base  │  0.5 │",
      "│ AEPO  │ 0.95 │",
      "└───────┴──────┘",
    ].join("\n"),
  );
});

Deno.test("table: colours are the only difference on a terminal", () => {
  const [plain, coloured] = [false, true].map((colour) => renderTable(["a", "b"], [["x", 1]], { colour }));
  assert(!plain.includes("\x1b["));
  assert(coloured.includes("\x1b["));
  // deno-lint-ignore no-control-regex
  assertEquals(coloured.replace(/\x1b\[\d+m/g, ""), plain);
});

Deno.test("table: a row that does not fit the head is refused", () => {
  assertThrows(() => renderTable(["a", "b"], [["x"]]), RangeError, "a row of 1 cells under 2 heads");
});
