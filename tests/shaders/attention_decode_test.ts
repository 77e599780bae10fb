/** Tests of attention over the paged cache. @module */
import { assertThrows } from "@std/assert";
import { GpuError } from "../../gpu/errors.ts";
import { attentionDecode } from "../../shaders/attention_decode.ts";
import { cases, mistakes } from "./attention_decode_cases.ts";
import { checkKernels } from "./check_kernels.ts";

checkKernels("attention_decode", cases, mistakes);

Deno.test("attention_decode: a head size it cannot do is refused", () => {
  for (const size of [0, 12, 264]) assertThrows(() => attentionDecode(size), GpuError, `head size ${size}`);
});
