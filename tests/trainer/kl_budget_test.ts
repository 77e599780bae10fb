import { assert, assertEquals } from "@std/assert";
import { loadConfig } from "../../trainer/config.ts";
import { KlBudget, type SequenceKl } from "../../trainer/kl_budget.ts";
import { BetaBuckets, KappaController } from "../../trainer/kl_controller.ts";

const configOf = (...overrides: string[]) => loadConfig({ overrides }).config;

/** Three micro-batches of a step. */
const passes = (step: number): SequenceKl[][] =>
  [0, 1, 2].map((p) => [
    { bucket: "easy", kl: 0.02 + 0.001 * step },
    { bucket: "hard", kl: 0.002 * (p + 1) },
    { bucket: "hard", kl: 0.03 },
  ]);

Deno.test("KL budget: the reference's β sees every micro-batch, weighs by kl_coef and knows no windows", () => {
  const config = configOf(
    "algorithm.recipe=reference",
    "algorithm.kl_coef=0.01",
    "reference.kl_update_interval=4",
  );
  let budget = new KlBudget(config);
  const beta = new BetaBuckets({ kl_update_interval: 4 });
  assert(budget.readsSequences);
  for (let step = 0; step < 9; step++) {
    budget.afterStep(passes(step));
    for (const pass of passes(step)) beta.update(pass.map((s) => s.bucket), pass.map((s) => s.kl));
    budget.afterIteration({ easy: 5, medium: 5, hard: 5 });
    for (const d of ["easy", "medium", "hard"] as const) {
      const weight = 0.01 * beta.betaFor(d);
      assertEquals(budget.weight(d), { outside: weight, inside: weight });
      assertEquals(budget.metrics(d), { beta: beta.betaFor(d) });
    }
    assertEquals(budget.state(), { beta: beta.state() });
    budget = new KlBudget(config, JSON.parse(JSON.stringify(budget.state())));
  }
  assert(beta.betaFor("easy") > 1 && beta.betaFor("medium") === 1);
});

Deno.test("KL budget: the paper's κ sees the tokens outside windows once an iteration, and relaxes by ρ inside", () => {
  const config = configOf("aepo.rho=0.25", "aepo.beta.hard=0.2");
  let budget = new KlBudget(config);
  const kappa = new KappaController(config.aepo.kappa);
  assert(!budget.readsSequences);
  for (const kl of [0.01, 0.02, 0.001]) {
    budget.afterStep(passes(0));
    budget.afterIteration({ hard: kl });
    kappa.update({ hard: kl });
    const weight = 0.2 * kappa.kappa("hard");
    assertEquals(budget.weight("hard"), { outside: weight, inside: 0.25 * weight });
    assertEquals(budget.weights().easy.outside, config.aepo.beta.easy);
    assertEquals(budget.state(), { kappa: kappa.state() });
    budget = new KlBudget(config, JSON.parse(JSON.stringify(budget.state())));
  }
  assert(kappa.kappa("hard") !== 1);
});

Deno.test("KL budget: without shaping the coefficient, without a KL nothing; neither has a state", () => {
  for (const recipe of ["paper", "reference"]) {
    const fixed = new KlBudget(configOf(`algorithm.recipe=${recipe}`, "aepo.kl_shaping=false"));
    fixed.afterIteration({ easy: 9 });
    fixed.afterStep(passes(1));
    assertEquals(fixed.weight("easy"), { outside: 0.05, inside: 0.05 });
    const none = new KlBudget(configOf(`algorithm.recipe=${recipe}`, "algorithm.disable_kl=true"));
    assertEquals(none.weight("hard"), { outside: 0, inside: 0 });
    assertEquals([fixed.state(), none.state(), none.metrics("easy")], [{}, {}, {}]);
  }
});
