import { assertEquals } from "@std/assert";
import { readOutcome } from "../run.ts";

Deno.test("test runner: the closing line of deno test is read, in colour and with steps", () => {
  assertEquals(readOutcome("a ... ok\n\nok | 14 passed | 0 failed (80ms)\n", true), {
    passed: 14,
    failed: 0,
  });
  assertEquals(
    readOutcome(
      "\n\x1b[32mok\x1b[0m | 5 passed (3 steps) | 0 failed | 1 ignored \x1b[38;5;245m(8ms)\x1b[0m\n",
      true,
    ),
    { passed: 5, failed: 0 },
  );
  assertEquals(readOutcome("FAILED | 1 passed | 2 failed (1 step) (80ms)\n", false), {
    passed: 1,
    failed: 2,
  });
});

Deno.test("test runner: no closing line, or a bad exit after a good line, is a failure", () => {
  assertEquals(readOutcome("error: Type checking failed.\n", false), { passed: 0, failed: 1 });
  assertEquals(readOutcome("ok | 3 passed | 0 failed (1s)\nSegmentation fault\n", false), {
    passed: 3,
    failed: 1,
  });
});

Deno.test("test runner: the last closing line counts, a printed look-alike does not", () => {
  const output = "x ok | 9 passed | 9 failed\nok | 1 passed | 0 failed\n\nok | 2 passed | 0 failed (1s)\n";
  assertEquals(readOutcome(output, true), { passed: 2, failed: 0 });
});
