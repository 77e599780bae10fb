import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { logSoftmax } from "../../trainer/entropy.ts";
import { fullKl, fullKlGrad, klPerToken, klWeights, rewardsWithKl } from "../../trainer/kl.ts";

Deno.test("values of the estimators", () => {
  assertEquals(klPerToken(-1, -1.5, "kl"), { value: 0.5, grad: 1 });
  assertEquals(klPerToken(-2, -1.5, "abs"), { value: 0.5, grad: -1 });
  assertEquals(klPerToken(-2, -1.5, "mse"), { value: 0.125, grad: -0.5 });
  assertAlmostEquals(klPerToken(-2, -1.5, "low_var_kl").value, Math.exp(0.5) - 1.5, 1e-12);
  assertEquals(klPerToken(-2, -2, "low_var_kl"), { value: 0, grad: 0 });
  assertThrows(() => klPerToken(0, 0, "k9" as "kl"), UserError, "k9");
});

Deno.test("gradients agree with finite differences", () => {
  const h = 1e-6;
  for (const kind of ["kl", "abs", "mse", "low_var_kl"] as const) {
    for (const d of [-2, -0.3, 0.4, 1.9]) {
      const at = (x: number) => klPerToken(-1 + d + x, -1, kind).value;
      assertAlmostEquals(klPerToken(-1 + d, -1, kind).grad, (at(h) - at(-h)) / (2 * h), 1e-6, `${kind} ${d}`);
    }
  }
});

Deno.test("low_var_kl is clamped to 10, with gradient 0 there and beyond ±20", () => {
  assertEquals(klPerToken(-10, 0, "low_var_kl"), { value: 10, grad: 0 });
  assertEquals(klPerToken(0, -50, "low_var_kl"), { value: 10, grad: 0 });
  assertEquals(klPerToken(-50, 0, "low_var_kl"), { value: 10, grad: 0 });
});

Deno.test("full KL: 0 for equal rows, positive else, gradient against finite differences", () => {
  const p = logSoftmax([1, 2, 3]), r = logSoftmax([2, 2, 0]);
  assertEquals(fullKl(p, p), 0);
  assertAlmostEquals(
    fullKl([Math.log(0.5), Math.log(0.5)], [Math.log(0.25), Math.log(0.75)]),
    0.14384103622589042,
    1e-12,
  );
  const grad = fullKlGrad(p, r), h = 1e-6;
  for (let v = 0; v < 3; v++) {
    const at = (x: number) => fullKl(p.map((lp, i) => i === v ? lp + x : lp), r);
    assertAlmostEquals(grad[v], (at(h) - at(-h)) / (2 * h), 1e-8);
  }
  assertEquals(fullKl([0, -Infinity], [0, -1]), 0);
});

Deno.test("rewards with KL and window-relaxed weights", () => {
  assertEquals([...rewardsWithKl([1, 0], [-1, -2], [-2, -2], 0.5)], [0.5, 0]);
  assertEquals([...klWeights(0.04, 0.25, [0, 1, 0])], [0.04, 0.01, 0.04]);
});
