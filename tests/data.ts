/**
 * `deno task test:data`: the grader on real answers, the Qwen2.5 encodings and the real models of a data folder (DATA_DIR,
 * else ../shared/data).
 */
import { Gpu } from "../gpu/device.ts";
import { checkGrader } from "./datacheck/grader.ts";
import { checkModels } from "./datacheck/models.ts";
import { checkQwenEncodings } from "./datacheck/tokenizer.ts";
import { runChecks } from "./goldens/run_checks.ts";

const folder = Deno.env.get("DATA_DIR") ?? new URL("../../shared/data", import.meta.url).pathname;

Deno.exit(
  await runChecks(folder, [
    ["grader", (_, report) => checkGrader(folder, report, (line) => console.log(`       ${line}`))],
    ["encodings", (_, report) => checkQwenEncodings(folder, report)],
    ["models", (gpu, report) => checkModels(gpu, folder, report)],
  ], await Gpu.open()),
);
