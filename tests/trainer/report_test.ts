import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { UserError } from "../../gpu/errors.ts";
import { PAGE_PARTS } from "../../trainer/report/bundle.ts";
import { html, scriptJson } from "../../trainer/report/html.ts";
import { bundleText } from "../../trainer/report/make_bundle.ts";
import { reportPage } from "../../trainer/report/page.ts";
import { readRun } from "../../trainer/report/run_log.ts";
import { writeReport } from "../../trainer/report/write_report.ts";

const FOLDER = new URL("../../trainer/report/", import.meta.url);

Deno.test("report: bundle.ts holds the script and the style beside it", async () => {
  const kept = await Deno.readTextFile(new URL("bundle.ts", FOLDER));
  assertEquals(kept, await bundleText(FOLDER), "run `deno task bundle`");
});

Deno.test("report: templates escape texts, attributes and lists, and leave markup and false alone", () => {
  const evil = `<b a="1" b='2'>&</b>`;
  const escaped = "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;&lt;/b&gt;";
  assertEquals(
    html`<p title="${evil}">${[evil, html`<i>${1}</i>`, false, undefined]}</p>`.text,
    `<p title="${escaped}">${escaped}<i>1</i></p>`,
  );
  const json = scriptJson({ text: "</script><!-- \u2028" }).text;
  assert(!json.includes("<"));
  assertEquals(JSON.parse(json), { text: "</script><!-- \u2028" });
});

/** A rollout's line; `length` tokens. */
function line(step: number, group: number, sample: number, length: number, more = {}): string {
  const numbers = Array.from({ length }, () => 0.5);
  return JSON.stringify({
    step,
    stage: "aepo",
    id: `p${group}`,
    group,
    sample,
    problem: "1 + 1",
    answer: "2",
    accuracy: 1,
    difficulty: "easy",
    length,
    n_he: 0,
    finish: "stop",
    tokens: numbers.map(() => "x"),
    entropies: numbers,
    windows: numbers,
    high_entropy: [],
    ...more,
  }) + "\n";
}

async function withRun(files: Record<string, string>, use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.mkdir(dirname(`${folder}/${name}`), { recursive: true });
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("report: of more tokens than wanted, whole groups spread evenly over the run are shown", async () => {
  const groups = Array.from(
    { length: 40 },
    (_, g) => [0, 1].map((s) => line(Math.floor(g / 4) + 1, g % 4, s, 5)),
  );
  const files = { "metrics.jsonl": "", "generations.jsonl": groups.flat().join("") };
  await withRun(files, async (folder) => {
    const all = await readRun(folder, 400);
    assertEquals([all.traced, all.shown.rollouts.length], [80, 80]);
    const some = await readRun(folder, 100);
    assertEquals([some.traced, some.responses.length, some.shown.rollouts.length], [80, 80, 20]);
    const byGroup = Map.groupBy(some.shown.rollouts, (r) => r.group);
    assertEquals([...byGroup.values()].map((list) => list.map((r) => r.sample)), Array(10).fill([0, 1]));
    assertEquals(
      some.shown.places.map((p) => p.name),
      Array.from({ length: 10 }, (_, i) => `iteration ${i + 1}`),
    );
  });
});

Deno.test("report: a run that was killed is shown as far as it got", async () => {
  const state = { evaluations: { base: { threshold: 0.25 } } };
  const files = {
    "metrics.jsonl":
      `{"step":1,"stage":"aepo","entropy/threshold":0.5,"train/easy/n_target":2,"train/easy/lambda":0.1}\n{"step":2,"sta`,
    "generations.jsonl": line(1, 0, 0, 3) + line(1, 0, 0, 4, { stage: "evaluate base", group: undefined }) +
      `{"step":1,"`,
    "checkpoints/latest.json": `{"latest":"aepo_step_1"}`,
    "checkpoints/aepo_step_1/run_state.json": JSON.stringify(state),
  };
  await withRun(files, async (folder) => {
    const { metrics, summary, evaluations, shown } = await readRun(folder, 1e6);
    assertEquals([metrics.length, summary], [1, undefined]);
    assertEquals(evaluations, state.evaluations as any);
    assertEquals(shown.rollouts.map((r) => r.tokens.length), [3, 4]);
    assertEquals(shown.places, [
      {
        name: "iteration 1",
        evaluation: false,
        blind: false,
        threshold: 0.5,
        shaping: { easy: { target: 2, lambda: 0.1 } },
      },
      { name: "base", evaluation: true, blind: false, threshold: 0.25, shaping: undefined },
    ]);
  });
});

Deno.test("report: without rollouts with tokens the rest is there; a folder that is no run's is refused", async () => {
  await withRun({ "metrics.jsonl": `{"step":1,"stage":"adacs","sft/loss":0.5}\n` }, async (folder) => {
    const page = await Deno.readTextFile(await writeReport(folder));
    assertStringIncludes(page, "Fine-tuning (AdaCS)");
    assertStringIncludes(page, "No model of this run was evaluated on held-out problems so far.");
    assert(!page.includes('id="viewer"'));
  });
  await withRun(
    {},
    (folder) => assertRejects(() => writeReport(folder), UserError, "metrics.jsonl").then(() => {}),
  );
});

Deno.test("report: without held-out problems the scatter of accuracy against length is that of training", async () => {
  const rollouts = [line(1, 0, 0, 3), line(1, 0, 1, 5, { accuracy: 0 }), line(2, 1, 0, 8)];
  const files = { "metrics.jsonl": "", "generations.jsonl": rollouts.join("") };
  await withRun(files, async (folder) => {
    const page = reportPage(await readRun(folder, 1e6));
    assertStringIncludes(page, "Every prompt of training");
    assertStringIncludes(page, "p0, iteration 1: 50 %, 4.0 tokens");
    assertStringIncludes(page, "p1, iteration 2: 100 %, 8.0 tokens");
  });
});

Deno.test("report: what branches saved by sharing prefixes is drawn, and told in sum", async () => {
  const iteration = (step: number, shared: number) =>
    JSON.stringify({
      step,
      stage: "aepo",
      "batch/sampled_trajectories": 8,
      "batch/branches": 2,
      "batch/generated_tokens": 100,
      "batch/shared_tokens": shared,
    }) + "\n";
  await withRun({ "metrics.jsonl": iteration(1, 7) + iteration(2, 11) }, async (folder) => {
    const page = reportPage(await readRun(folder, 1e6));
    assertStringIncludes(page, `{"name":"saved by sharing prefixes","values":[7,11]}`);
    assertStringIncludes(
      page,
      "16 rollouts sampled, 200 tokens generated, 18 more saved by sharing the prefixes of 4 branches",
    );
  });
});

Deno.test("report: pictures come from the run's folder alone, each once, and names cannot lead out of it", async () => {
  const records = ["a.png", "a.png", "../secret.png", "gone.png"].map((image, i) =>
    line(1, i, 0, 2, { images: [image], id: `p${i}` })
  );
  const files = {
    "metrics.jsonl": "",
    "generations.jsonl": records.join(""),
    "pictures/a.png": "PNG",
    "secret.png": "no",
  };
  await withRun(files, async (folder) => {
    const run = await readRun(folder, 1e6);
    assertEquals(run.shown.pictures, { "a.png": `data:image/png;base64,${btoa("PNG")}` });
    assertEquals(reportPage(run).split(btoa("PNG")).length, 2);
  });
});

Deno.test("report: the page's policy lets its own script run, and names no other place", async () => {
  await withRun({ "metrics.jsonl": "", "generations.jsonl": line(1, 0, 0, 2) }, async (folder) => {
    const page = reportPage(await readRun(folder, 1e6));
    const hash = createHash("sha256").update(PAGE_PARTS.script).digest("base64");
    assertStringIncludes(page, `script-src &#39;sha256-${hash}&#39;`);
    assertStringIncludes(page, "default-src &#39;none&#39;");
    const addresses = [...page.matchAll(/https?:\/\/[^"'\s)]+/g)].map(([address]) => address);
    assertEquals(new Set(addresses), new Set(["http://www.w3.org/2000/svg"])); // a name, not a place
  });
});
