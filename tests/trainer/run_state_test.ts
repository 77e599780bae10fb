import { assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import { Tuner } from "../../gpu/tuner.ts";
import { freshState, keepKernels, loadState, saveState } from "../../trainer/run_state.ts";

import { scale } from "../gpu/test_kernels.ts";

const TARGETS = { easy: 3.25, medium: null, hard: 0.1 };
const KAPPA = { easy: 1, medium: 1.3, hard: 0.7 };
const THRESHOLD = 0.1 + 0.2;

/** State as a checkpoint with these fields gives it. */
async function loaded(fields: Record<string, unknown>) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/run_state.json`, JSON.stringify(fields));
    return await loadState(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("run state: older layouts load: controllers side by side, with a threshold or before there was one", async () => {
  const rest = { stage: "aepo", step: 3, taken: 9 };
  const controllers = { reward: { targets: TARGETS }, klBudget: { kappa: KAPPA } };
  const flat = { ...rest, targets: TARGETS, kappa: KAPPA };
  assertEquals<unknown>(await loaded({ ...flat, threshold: THRESHOLD }), {
    ...rest,
    controllers: { ...controllers, threshold: THRESHOLD },
  });
  assertEquals<unknown>(await loaded(flat), { ...rest, controllers: { ...controllers, threshold: null } });
  assertEquals<unknown>(await loaded({ ...rest, stage: "adacs" }), { ...rest, stage: "adacs" });
});

Deno.test("run state: what is saved is loaded to the last digit; a folder without it is no checkpoint", async () => {
  const folder = await Deno.makeTempDir();
  const controllers = {
    reward: { targets: TARGETS },
    klBudget: { kappa: KAPPA },
    threshold: THRESHOLD,
  };
  const state = { ...freshState(), controllers };
  await saveState(folder, state, undefined);
  assertEquals(await loadState(folder), state);
  await Deno.remove(`${folder}/run_state.json`);
  await assertRejects(() => loadState(folder), UserError, "cannot resume");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("run state: a run that goes on has the kernels it had, or a word about it", async () => {
  const facts = { name: "card", driver: "driver" };
  const tuner = () => new Tuner({ facts } as Gpu, { cache: null, seconds: 0 });
  const on = (tuner: Tuner | undefined, kernels = before.choices()) =>
    keepKernels({ tuner } as Gpu, { ...freshState(), kernels });
  const rule = scale as never;
  const other = { ...scale, name: "test.other" } as never;
  const candidates = { kernels: [other], dims: { n: 4, value: 1 } };
  const before = tuner();
  assertEquals(on(undefined), undefined);
  await before.choose(rule, candidates);
  const [[key, choice]] = Object.entries(before.choices().choices);
  const kept = { ...before.choices(), choices: { [key]: { ...choice, kernel: "test.other" } } };
  const after = tuner();
  assertEquals(on(after, kept), undefined);
  assertEquals(await after.choose(rule, candidates), other);
  assertEquals(on(undefined), "kernels were chosen by measuring before, and are by rule now");
  assertEquals(
    on(tuner(), { ...kept, adapter: "another | driver" }),
    "the run was on another | driver: kernels are chosen anew",
  );
  // A run without choices was by rule and stays so.
  const resting = tuner();
  assertEquals(keepKernels({ tuner: resting }, freshState()), undefined);
  assertEquals(await resting.choose(rule, candidates), rule);
  assertEquals(resting.choices().choices, {});
});
