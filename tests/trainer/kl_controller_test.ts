import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import {
  AdaptiveKl,
  BetaBuckets,
  KappaController,
  kappaStep,
  TokenLevelAdaptiveKl,
} from "../../trainer/kl_controller.ts";

const KAPPA = { init: 1, alpha: 0.1, delta: 0.01, min: 0.5, max: 2 };

Deno.test("kappa rises above the budget, falls below it, stays inside its bounds", () => {
  const o = { alpha: 0.1, delta: 0.01, min: 0.5, max: 2 };
  assertAlmostEquals(kappaStep(1, 0.02, o), 1.1, 1e-12);
  assertAlmostEquals(kappaStep(1, 0, o), 0.9, 1e-12);
  assertEquals([kappaStep(1, 1, o), kappaStep(0.5, 0, o)], [2, 0.5]);
});

Deno.test("kappa per bucket: budgets apart, a bucket without KL keeps its value, state continues", () => {
  const options = { ...KAPPA, delta: { easy: 0.01, medium: 0.02, hard: 0.04 } };
  const kappa = new KappaController(options);
  kappa.update({ easy: 0.02, hard: 0.02 });
  assertAlmostEquals(kappa.kappa("easy"), 1.1, 1e-12);
  assertAlmostEquals(kappa.kappa("hard"), 0.95, 1e-12);
  assertEquals(kappa.kappa("medium"), 1);
  const resumed = new KappaController(options, JSON.parse(JSON.stringify(kappa.state())));
  for (const k of [kappa, resumed]) k.update({ easy: 0.013 });
  assertEquals(resumed.state(), kappa.state());
});

Deno.test("kappa refuses bounds and budgets that are none", () => {
  assertThrows(() => new KappaController({ ...KAPPA, min: 3 }), UserError, "min");
  assertThrows(() => new KappaController({ ...KAPPA, delta: 0 }), UserError, "delta");
});

Deno.test("adaptive: the error is clipped to 0.2 and scaled by n / horizon", () => {
  const kl = new AdaptiveKl(1, 0.1, 100);
  kl.update(5, 10);
  assertAlmostEquals(kl.state(), 1.02, 1e-12);
  kl.update(0.11, 10);
  assertAlmostEquals(kl.state(), 1.02 * 1.01, 1e-12);
  assertThrows(() => new AdaptiveKl(1, 0, 100), UserError, "target");
});

Deno.test("token-level: lambda follows the error and multiplies the coefficient, floor at 0", () => {
  const all = (x: number) => ({ easy: x, medium: x, hard: x });
  const kl = new TokenLevelAdaptiveKl(all(0.5), all(1));
  kl.update({ easy: 3 });
  assertAlmostEquals(kl.state().lambdas.easy, 1.02, 1e-12);
  assertAlmostEquals(kl.state().coefficients.easy, 0.51, 1e-12);
  assertEquals(kl.state().coefficients.hard, 0.5);
  kl.update({ hard: -1000 + 1 });
  assertEquals(kl.state().lambdas.hard, 0);
  const resumed = new TokenLevelAdaptiveKl(kl.state(), all(1));
  for (const k of [kl, resumed]) k.update({ easy: 2 });
  assertEquals(resumed.state(), kl.state());
});

Deno.test("beta: moves only on every interval, outside the dead zone, by at most lr x clip", () => {
  const beta = new BetaBuckets({ kl_update_interval: 2, kl_ema_decay: 0 });
  beta.update(["easy"], [1]);
  assertEquals(beta.betaFor("easy"), 1);
  beta.update(["easy", "easy", "other"], [0.5, 1.5, 9]);
  assertAlmostEquals(beta.betaFor("easy"), Math.exp(0.05 * 0.2), 1e-12);
  assertEquals([beta.betaFor("hard"), beta.betaFor("other")], [1, 1]);
  beta.update(["hard"], [0.0101]);
  beta.update(["hard"], [0.0101]);
  assertEquals(beta.betaFor("hard"), 1);
});

Deno.test("beta: bounds hold and a saved state continues", () => {
  const options = { kl_update_interval: 1, kl_beta_lr: 10, kl_beta_max: 1.5, kl_ema_decay: 0.5 };
  const beta = new BetaBuckets(options);
  beta.update(["medium"], [1]);
  assertAlmostEquals(beta.betaFor("medium"), 1.5, 1e-12);
  const resumed = new BetaBuckets(options, JSON.parse(JSON.stringify(beta.state())));
  for (const b of [beta, resumed]) b.update(["medium", "easy"], [0, 0.02]);
  assertEquals(resumed.state(), beta.state());
});
