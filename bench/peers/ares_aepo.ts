/** Iterations of AEPO as the built-in demo runs them: its model, its problems, its settings. @module */
import type { Gpu } from "../../gpu/device.ts";
import type { LogRecord } from "../../trainer/metrics_log.ts";
import { AepoStage } from "../../trainer/aepo.ts";
import { loadConfig } from "../../trainer/config.ts";
import { silent } from "../../trainer/monitor.ts";
import { AdamW } from "../../trainer/optimizer.ts";
import { PolicyUpdate } from "../../trainer/policy_update.ts";
import { Cursor } from "../../trainer/problems.ts";
import { loadRunPolicy } from "../../trainer/run_policy.ts";
import { loadRows } from "../../trainer/run_rows.ts";

/** Sets up the stage; each call is the next iteration and returns what it logs. */
export async function aepoIterations(gpu: Gpu): Promise<() => Promise<LogRecord>> {
  const { config } = loadConfig({});
  const { data, worker: { actor } } = config;
  const policy = await loadRunPolicy(gpu, actor.model.model_path, config);
  const rows = await loadRows(config, policy.model.config.vision !== undefined, silent);
  const { problems } = await policy.writer.problems(rows.train, undefined, actor.micro_batch_patches);
  const { lr, betas, weight_decay } = actor.optim;
  const optimizer = new AdamW(gpu, policy.model.parameters, {
    lr,
    betas,
    weight_decay,
    eps: 1e-8,
    max_grad_norm: actor.max_grad_norm,
  });
  const update = new PolicyUpdate(policy, policy.model.frozenCopy(), optimizer, config);
  const stage = new AepoStage(policy, update, config, new Cursor(problems, data.seed));
  let iteration = 0;
  return async () => {
    const report = await stage.iterate(++iteration, { lr, tell: () => {} });
    return report!.metrics;
  };
}
