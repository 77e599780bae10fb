/** Tests of the sampling kernel. @module */
import { assertEquals } from "@std/assert";
import { philox, sampleUniform } from "../../shaders/philox.ts";
import { philoxWord } from "../reference/sample.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./sample_cases.ts";

checkKernels("sample", cases, mistakes);

Deno.test("philox: the published known answers of Philox4x32-10", () => {
  const f = 0xffffffff;
  assertEquals(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  assertEquals(philox([f, f, f, f], [f, f]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  assertEquals(
    philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  );
});

Deno.test("philox: the host function equals BigInt arithmetic, and the uniform number is its first 24 bits", () => {
  for (let i = 0; i < 500; i++) {
    const key: [number, number] = [Math.imul(i, 0x9e3779b1) >>> 0, Math.imul(i + 3, 0x85ebca6b) >>> 0];
    const word = philoxWord([i * 77, 0, 0, 0], key);
    assertEquals(philox([i * 77, 0, 0, 0], key)[0], word);
    assertEquals(sampleUniform(key, i * 77), (word >>> 8) / 2 ** 24);
  }
});
