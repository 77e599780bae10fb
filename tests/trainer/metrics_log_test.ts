import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { MetricsLog, withoutTimes } from "../../trainer/metrics_log.ts";

async function withPath(use: (path: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(`${folder}/metrics.jsonl`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function write(path: string, steps: number[], keepLines?: number): void {
  using log = MetricsLog.open(path, keepLines);
  for (const step of steps) log.append({ step, stage: "aepo", "actor/grad_norm": step / 3 });
}

Deno.test("metrics log: an interrupted and resumed log equals an uninterrupted one", () =>
  withPath((path) => {
    write(path, [1, 2, 3, 4, 5]);
    const uninterrupted = Deno.readTextFileSync(path);
    Deno.removeSync(path);
    write(path, [1, 2, 3, 4]);
    write(path, [3, 4, 5], 2);
    assertEquals(Deno.readTextFileSync(path), uninterrupted);
  }));

Deno.test("metrics log: a torn last line is cut off, whole ones stay", () =>
  withPath((path) => {
    write(path, [1, 2]);
    const whole = Deno.readTextFileSync(path);
    Deno.writeTextFileSync(path, '{"step":3,"sta', { append: true });
    write(path, [3]);
    const lines = Deno.readTextFileSync(path);
    assertEquals(lines.startsWith(whole), true);
    assertEquals(lines.trimEnd().split("\n").map((line) => JSON.parse(line).step), [1, 2, 3]);
  }));

Deno.test("metrics log: lines counts kept and new lines", () =>
  withPath((path) => {
    write(path, [1, 2, 3]);
    using log = MetricsLog.open(path, 2);
    assertEquals(log.lines, 2);
    log.append({ step: 3, stage: "aepo" });
    assertEquals(log.lines, 3);
  }));

Deno.test("metrics log: resuming from 0 lines empties the file", () =>
  withPath((path) => {
    write(path, [1, 2, 3]);
    write(path, [1], 0);
    assertEquals(Deno.readTextFileSync(path).trimEnd().split("\n").length, 1);
  }));

Deno.test("metrics log: fewer lines than the checkpoint knew is refused, and nothing is changed", () =>
  withPath((path) => {
    write(path, [1]);
    const before = Deno.readTextFileSync(path);
    assertThrows(() => MetricsLog.open(path, 2), UserError, "has 1 lines, but had 2");
    assertEquals(Deno.readTextFileSync(path), before);
  }));

Deno.test("metrics log: numbers JSON does not have are texts, at any depth, and the line stays JSON", () =>
  withPath((path) => {
    using log = MetricsLog.open(path);
    log.append({ step: 1, stage: "aepo", loss: NaN, up: Infinity, deep: [{ down: -Infinity }], fine: -0.5 });
    assertEquals(JSON.parse(Deno.readTextFileSync(path)), {
      step: 1,
      stage: "aepo",
      loss: "NaN",
      up: "Infinity",
      deep: [{ down: "-Infinity" }],
      fine: -0.5,
    });
  }));

Deno.test("metrics log: texts with line breaks and any script stay on one line", () =>
  withPath((path) => {
    {
      using log = MetricsLog.open(path);
      log.append({ step: 1, stage: "aepo", text: "a\nb\u2028c √ 数" });
      log.append({ step: 2, stage: "aepo" });
    }
    const lines = Deno.readTextFileSync(path).trimEnd().split("\n");
    assertEquals(lines.length, 2);
    assertEquals(JSON.parse(lines[0]).text, "a\nb\u2028c √ 数");
    using log = MetricsLog.open(path, 1);
    assertEquals(log.lines, 1);
  }));

Deno.test("metrics log: withoutTimes drops what the clock decides and nothing else", () => {
  const a = '{"step":1,"timing_s/gen":0.1,"actor/lr":0.1,"perf/throughput":9,"response_length/mean":3}';
  const b = '{"step":1,"timing_s/gen":0.7,"actor/lr":0.1,"perf/throughput":2,"response_length/mean":3}';
  assertEquals(withoutTimes(a), '{"step":1,"actor/lr":0.1,"response_length/mean":3}');
  assertEquals(withoutTimes(a), withoutTimes(b));
});
