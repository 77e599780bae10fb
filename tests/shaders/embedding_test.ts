import { assertEquals } from "@std/assert";
import { embeddingPlan } from "../../shaders/embedding.ts";
import { checkKernels } from "./check_kernels.ts";
import { cases, mistakes } from "./embedding_cases.ts";

checkKernels("embedding", cases, mistakes);

Deno.test("embedding: the plan sorts tokens by id, then by index", () => {
  const plan = embeddingPlan(Uint32Array.of(7, 2, 7, 0, 2, 7));
  assertEquals(plan.order, Uint32Array.of(3, 1, 4, 0, 2, 5));
  assertEquals(plan.starts, Uint32Array.of(0, 1, 3, 6));
  assertEquals(plan.unique, Uint32Array.of(0, 2, 7));
});

Deno.test("embedding: the plan of no tokens", () => {
  const plan = embeddingPlan(new Uint32Array(0));
  assertEquals([...plan.order, ...plan.starts, ...plan.unique], [0]);
});
