import { assertEquals, assertThrows } from "@std/assert";
import { GpuError } from "../../gpu/errors.ts";
import { unroll } from "../../gpu/unroll.ts";

Deno.test("unroll: a block is written once for each number below its limit, a constant or a numeral", () => {
  const text = "a\n  //# for r in ROWS\n  x$r = y[$r];\n  //# end\nb\n//# for c in 1\nz$c\n//# end";
  assertEquals(unroll(text, { ROWS: 2 }), "a\n  x0 = y[0];\n  x1 = y[1];\nb\nz0");
});

Deno.test("unroll: blocks nest, and a name that starts with another is its own", () => {
  const text = "//# for r in 2\n//# for row in 2\n$r,$row\n//# end\n//# end";
  assertEquals(unroll(text), "0,0\n0,1\n1,0\n1,1");
});

Deno.test("unroll: a text without blocks is the same text; a limit of nothing leaves nothing", () => {
  const text = "let a = 1; // $r stays";
  assertEquals(unroll(text), text);
  assertEquals(unroll("a\n//# for r in 0\nx\n//# end"), "a");
});

Deno.test("unroll: what cannot be read, has no end or no start is refused", () => {
  assertThrows(() => unroll("//# for r in ROWS\n//# end"), GpuError, "for r in ROWS");
  assertThrows(() => unroll("//# repeat 3\n//# end"), GpuError, "repeat 3");
  assertThrows(() => unroll("//# for r in 2\nx"), GpuError, "no end");
  assertThrows(() => unroll("x\n//# end"), GpuError, "without its");
});
