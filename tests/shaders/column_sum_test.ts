import { assert } from "@std/assert";
import { Program } from "../../gpu/program.ts";
import { chunks, columnSum, columnSumFinish } from "../../shaders/column_sum.ts";
import * as reference from "../reference/column_sum.ts";
import { randomArray, worstDifference } from "./case.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./column_sum_cases.ts";
import { oneGpu } from "./one_gpu.ts";

checkKernels("column_sum", cases, mistakes);

Deno.test("column_sum: two passes of both stages add up to twice the sum", async () => {
  const gpu = await oneGpu();
  const [tokens, width, chunk] = [1000, 12, 64];
  const dy = gpu.tensor("dy", [tokens, width], randomArray([tokens, width]));
  const partial = gpu.alloc("partial", [chunks(tokens, chunk), width], "scratch");
  const out = gpu.tensor("out", [width], new Float32Array(width));
  const program = new Program(gpu, "column_sum")
    .add(columnSum, { dy, partial }, { tokens, width, chunk })
    .add(columnSumFinish, { partial, out }, { rows: chunks(tokens, chunk), width });
  await program.run(2);
  const expected = reference.columnSum(await gpu.readF32(dy), tokens, width, tokens).map((s) => 2 * s);
  const { worst } = worstDifference(await gpu.readF32(out), expected);
  program.destroy();
  for (const tensor of [dy, partial, out]) gpu.pool.free(tensor);
  assert(worst < 1e-5, `worst relative difference ${worst}`);
});
