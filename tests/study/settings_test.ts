import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { ARMS, armsNamed } from "../../study/arms.ts";
import { configOf, differences, sharedOverrides, type StudySettings } from "../../study/settings.ts";
import { PRESETS } from "../../trainer/presets.ts";

const settings = (...overrides: string[]): StudySettings => ({
  arms: ARMS,
  seeds: [0, 1],
  iterations: 7,
  overrides,
  smoke: false,
  runs: "runs/study",
});
const arm = (name: string) => armsNamed([name])[0];

Deno.test("study: reinforcement arms differ from AEPO by their presets alone; overrides and budget reach all", () => {
  const own = ["trainer.experiment_name", "trainer.save_checkpoint_path"];
  const overrides = ["worker.actor.optim.lr=1e-5", "data.micro.val_count=96"];
  const aepo = configOf(settings(...overrides), arm("aepo"), 1);
  for (const other of ARMS.filter((a) => a.kind === "rl" && a.name !== "aepo")) {
    const config = configOf(settings(...overrides), other, 1);
    const keys = differences(aepo, config).map((d) => d.split(" = ")[0]).filter((k) => !own.includes(k));
    assert(keys.length > 0, other.name);
    for (const key of keys) assert(key in PRESETS[other.preset!], `${other.name}: ${key}`);
    assertEquals([config.worker.actor.optim.lr, config.data.micro.val_count], [1e-5, 96]);
    assertEquals([config.trainer.max_steps, config.algorithm.refill_within_budget], [7, true]);
    assertEquals(config.worker.actor.model.model_path, "runs/study/seed-1/adacs/adacs");
  }
});

Deno.test("study: cold starts differ by how they choose alone; a seed has its own problems, order and samples", () => {
  const [adacs, uniform] = ["adacs", "uniform"].map((name) => configOf(settings(), arm(name), 0));
  assertEquals(differences(adacs, uniform).map((d) => d.split(" = ")[0]), [
    "trainer.experiment_name",
    "trainer.save_checkpoint_path",
    "adacs.selection",
  ]);
  const next = configOf(settings(), arm("adacs"), 1);
  assertEquals([adacs.data.seed, next.data.seed, adacs.trainer.seed, next.trainer.seed], [1, 2, 0, 1]);
  assertEquals([adacs.adacs.enabled, adacs.aepo.enabled], [true, false]);
});

Deno.test("study: no override may touch what makes arms comparable", () => {
  for (const override of ["data.seed=3", "trainer.max_steps=3", "algorithm.refill_within_budget=false"]) {
    assertThrows(() => configOf(settings(override), arm("grpo"), 0), UserError, "the study sets it itself");
  }
  assertThrows(() => configOf(settings("a.b=c"), arm("grpo"), 0), UserError, "there is no key a.b");
});

Deno.test("study: of two values of a key the later counts and is recorded alone", () => {
  const given = settings("trainer.val_freq=7");
  const shared = sharedOverrides(given);
  assertEquals(shared.filter((o) => o.startsWith("trainer.val_freq")), ["trainer.val_freq=7"]);
  assertEquals(configOf(given, arm("grpo"), 0).trainer.val_freq, 7);
});
