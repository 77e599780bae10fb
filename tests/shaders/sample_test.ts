/** Tests of the sampling kernel. @module */
import { assertEquals } from "@std/assert";
import { philoxWord } from "../reference/sample.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./sample_cases.ts";

checkKernels("sample", cases, mistakes);

Deno.test("philox: the reference gives the published first words of Philox4x32-10", () => {
  const f = 0xffffffff;
  assertEquals(philoxWord([0, 0, 0, 0], [0, 0]), 0x6627e8d5);
  assertEquals(philoxWord([f, f, f, f], [f, f]), 0x408f276d);
  assertEquals(
    philoxWord([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    0xd16cfe09,
  );
});
