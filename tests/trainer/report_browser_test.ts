/** The report of a real run, opened from the disk in a headless browser. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { loadConfig } from "../../trainer/config.ts";
import { silent } from "../../trainer/monitor.ts";
import { writeReport } from "../../trainer/report/write_report.ts";
import { sampledLine, sampledTotalsOf } from "../../trainer/sampled_totals.ts";
import { train } from "../../trainer/scheduler.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { findChromium, openChromium } from "./chromium.ts";
import { copyRun, generationsOf, repeated } from "./run_copy.ts";
import { coloursOf, contrast, decoded, type Pixels, type Rgb, screenshot } from "./screenshot.ts";

const program = await findChromium();
if (program === undefined) {
  console.log("report: the tests in a browser are left out: there is no chromium in PATH");
}
const options = { ignore: program === undefined, sanitizeOps: false, sanitizeResources: false };

let made: Promise<string> | undefined;

/** A run through every stage; the same for all tests of this file. */
function realRun(): Promise<string> {
  return made ??= (async () => {
    const folder = `${await Deno.makeTempDir()}/run`;
    const overrides = [
      `worker.actor.model.model_path=${new URL("../../models/micro", import.meta.url).pathname}`,
      `trainer.save_checkpoint_path=${folder}`,
      "data.micro.train_count=24",
      // Every family, with and without pictures, easy and medium.
      "data.micro.val_count=27",
      "adacs.problems=8",
      "adacs.max_tokens=600",
      "adacs.batch_size=8",
      // Enough for branches, and for branches of branches, of problems with pictures too.
      "trainer.max_steps=4",
      "worker.rollout.n=8",
      "aepo.branching.share=0.75",
      "aepo.branching.refractory=4",
    ];
    const { config } = loadConfig({ preset: "smoke", overrides });
    await train(await oneGpu(), { config, monitor: silent });
    return folder;
  })();
}

/** Opens a report; whatever it asks of the network or complains about is a failure. */
async function withPage(
  file: string,
  use: (page: Page, openedIn: number) => Promise<void>,
  colorScheme: "light" | "dark" = "light",
): Promise<void> {
  const browser: Browser = await openChromium(program!);
  try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 }, colorScheme });
    const wrong: string[] = [];
    page.on("request", (r) => {
      if (!r.url().startsWith("data:") && r.url() !== `file://${file}`) wrong.push(`asks for ${r.url()}`);
    });
    page.on("console", (m) => wrong.push(m.text()));
    page.on("pageerror", (error) => wrong.push(String(error)));
    const started = performance.now();
    await page.goto(`file://${file}`);
    await use(page, performance.now() - started);
    assertEquals(wrong, []);
  } finally {
    await browser.close();
  }
}

const countText = async (page: Page) => (await page.locator(".count").textContent())!;
const texts = (page: Page, selector: string) => page.locator(selector).allTextContents();

/** A number as the page writes it. */
const shown = (x: number, digits = 3) => x.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
/** The same with its sign. */
const signed = (x: number) => (Number(x.toFixed(3)) > 0 ? "+" : "") + shown(x);

type Json = Record<string, any>;
const indexOf = (records: readonly Json[], r: Json) => records.filter((r) => r.tokens).indexOf(r);

/** Opens a rollout by its place in the log, as a link to it does. */
async function open(page: Page, records: readonly Json[], r: Json): Promise<void> {
  await page.evaluate((hash) => location.hash = hash, `#rollout=${indexOf(records, r)}`);
  await page.locator(`.tokens.main[data-rollout="${indexOf(records, r)}"]`).waitFor();
}

const isParent = (records: readonly Json[], r: Json) =>
  records.some((c) => c.parent === r.sample && c.step === r.step && c.group === r.group);
const parentOf = (records: readonly Json[], c: Json) =>
  records.find((r) => r.sample === c.parent && c.step === r.step && c.group === r.group)!;

/** What a page's variable is drawn as. */
async function colour(page: Page, name: string): Promise<Rgb> {
  const text = await page.evaluate((name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--${name})`;
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  }, name);
  const [r, g, b] = text.match(/\d+/g)!.map(Number);
  return [r, g, b];
}

/** Checks what is seen of the opened rollout: its tokens' window marks, its text on any shade, its problem's picture. */
async function assertSeen(page: Page, path: string, picture?: Pixels): Promise<void> {
  const [background, text, mark] = await Promise.all(["page", "text", "window"].map((n) => colour(page, n)));
  for (const name of ["page", "shade", "shade-plus", "shade-minus"]) {
    const ratio = contrast(text, await colour(page, name));
    assert(ratio >= 4.5, `text on --${name} has a contrast of ${ratio.toFixed(2)}`);
  }
  const box = page.locator(".tokens.main");
  await box.scrollIntoViewIfNeeded();
  const image = await screenshot(page, path);
  const all = coloursOf(image);
  assert(all.size > 50, `${all.size} colours`);
  const [[common, count]] = all;
  assertEquals(common, background.join());
  assert(count < 0.97 * image.width * image.height, "the page is empty");
  // A line of three pixels below every token inside a window.
  const inside = await page.locator(".tokens.main .t.hwe").evaluateAll((tokens) =>
    tokens.flatMap((t) => [...t.getClientRects()]).reduce((sum, { width }) => sum + width, 0)
  );
  assert(inside > 0, "no window is open");
  const marked = coloursOf(image, (await box.boundingBox())!).get(mark.join()) ?? 0;
  assert(marked > 2.5 * inside, `${marked} pixels mark ${inside} pixels of tokens inside windows`);
  if (picture === undefined) return;
  await page.locator(".problem img").scrollIntoViewIfNeeded();
  const drawn = coloursOf(await screenshot(page, path), (await page.locator(".problem img").boundingBox())!);
  const [[ground], [ink]] = coloursOf(picture);
  assertEquals([...drawn.keys()][0], ground);
  assert((drawn.get(ink) ?? 0) > 50, `the picture's ${ink} is not seen`);
}

Deno.test({
  name:
    "report: a run's own page shows its table, curves and scatter; rollouts open, filter and tell of each token",
  ...options,
  fn: async () => {
    const folder = await realRun();
    const records = await generationsOf(folder);
    const rollouts = records.filter((r) => r.stage === "aepo");
    await withPage(`${folder}/report.html`, async (page) => {
      assertEquals(await texts(page, "nav a"), [
        "Evaluations",
        "Training curves",
        "Accuracy and length",
        "Traces",
        "Configuration",
      ]);
      const summary = JSON.parse(await Deno.readTextFile(`${folder}/summary.json`));
      const accuracy = (100 * summary.evaluations.aepo.all.accuracy).toFixed(1);
      assertStringIncludes((await texts(page, "#table tbody:first-of-type tr:last-child")).join(), accuracy);
      assertEquals((await texts(page, "#table thead th[scope=col]")).slice(0, 3), ["easy", "medium", "all"]);
      const curves = ["accuracy", "response length, tokens", "tokens of rollouts", "loss, nats a token"];
      for (const title of curves) {
        const drawing = page.getByRole("group", { name: title, exact: true }).locator("svg").first();
        assert((await drawing.boundingBox())!.height > 100, title);
      }
      const curve = page.getByRole("group", { name: "response length, tokens", exact: true });
      await curve.focus();
      await page.keyboard.press("ArrowRight");
      const mean = rollouts.filter((r) => r.step === 1).reduce((s, r) => s + r.length, 0) /
        rollouts.filter((r) => r.step === 1).length;
      assertStringIncludes(
        (await curve.locator("output").textContent())!,
        `all ${Number(mean.toPrecision(3))}`,
      );
      const saved = page.getByRole("group", { name: "tokens of rollouts", exact: true });
      await saved.focus();
      await page.keyboard.press("ArrowLeft"); // to the last
      const metrics = (await Deno.readTextFile(`${folder}/metrics.jsonl`)).trim().split("\n").map((line) =>
        JSON.parse(line)
      );
      const last = metrics.findLast((m) => m["batch/shared_tokens"] !== undefined);
      assert(last["batch/shared_tokens"] > 0, "nothing was shared: take another seed");
      const read = (name: string) => Number(last[`batch/${name}_tokens`].toPrecision(3));
      assertEquals(
        await saved.locator("output").textContent(),
        `4: generated ${read("generated")} · saved by sharing prefixes ${read("shared")}`,
      );
      const totals = (await sampledTotalsOf(`${folder}/metrics.jsonl`))!;
      assertStringIncludes((await texts(page, ".facts dd")).join("\n"), sampledLine(totals));
      // Accuracy against length: each level's way from model to model, and every held-out problem under each model.
      const levels = page.locator("#lengths figure").nth(0).locator("circle");
      assert(await levels.count() >= 2 * 3);
      const dots = page.locator("#lengths figure").nth(1).locator("circle");
      assertEquals(await dots.count(), 27 * 3);

      assertMatch(await countText(page), new RegExp(`^${records.length} of ${records.length} rollouts`));
      await page.selectOption("[name=place]", "training");
      await page.selectOption("[name=answer]", "wrong");
      const wrong = rollouts.filter((r) => r.accuracy === 0);
      assertMatch(await countText(page), new RegExp(`^${wrong.length} of .*, 0 % right$`));
      assertEquals(await page.locator(".row .right").count(), 0);
      // Far down a list that scrolls: a new order starts at its top again, wherever the list was.
      await page.setViewportSize({ width: 1400, height: 300 });
      await page.selectOption("[name=sort]", "windows");
      await page.locator(".list").focus();
      await page.keyboard.press("End");
      assertEquals(await page.locator('.row[aria-posinset="1"]').count(), 0, "the list does not scroll");
      await page.selectOption("[name=sort]", "long");
      await page.selectOption("[name=sort]", "windows");
      await page.locator(".row").first().click();
      assertEquals(await page.locator(".row[aria-selected=true]").getAttribute("aria-posinset"), "1");
      await page.setViewportSize({ width: 1400, height: 900 });

      // What the log says of the rollout with the largest N_HE is what is seen.
      const largest = Math.max(...wrong.map((r) => r.n_he));
      assert(largest > 0, "no wrong rollout has a high-entropy window: take another seed");
      const seen = (await texts(page, ".tokens.main .t")).join("");
      // More than one may have it.
      const most = wrong.find((r) => r.n_he === largest && r.tokens.join("") === seen);
      assert(most, `no rollout with N_HE = ${largest} reads: ${seen}`);
      assertEquals(await page.locator(".tokens.main .t.hwe").count(), most.n_he);
      assertEquals(await page.locator(".tokens.main .t.start").count(), most.high_entropy.length);
      const terms = Object.fromEntries(
        await page.locator(".terms tr").evaluateAll((rows) =>
          rows.map((r) => [r.children[0].textContent, r.children[1].textContent])
        ),
      );
      assertEquals(terms["entropy shaping"], signed(most.reward.shaping));
      assertEquals(terms["reward R"], signed(most.reward.overall));

      const [first] = most.high_entropy[0];
      // The stronger the window entropy, the stronger the shade.
      const shade = (t: number) =>
        page.locator(`.tokens.main [data-t="${t}"]`).evaluate((e) =>
          Number((e as HTMLElement).style.getPropertyValue("--v"))
        );
      const quiet = most.windows.indexOf(Math.min(...most.windows));
      assert(await shade(first) > await shade(quiet));
      await page.selectOption("[name=measure]", "advantage");
      assertEquals(await page.locator(".tokens.main .t:is(.plus, .minus)").count(), most.length);

      await page.locator(".tokens.main").focus();
      await page.keyboard.press("End");
      assertStringIncludes(
        (await page.locator("#card").textContent())!,
        `token ${most.length} of ${most.length}`,
      );
      await page.locator(".list").focus();
      await page.keyboard.press("ArrowDown");
      assertEquals(await page.locator(".row[aria-selected=true]").getAttribute("aria-posinset"), "2");
      await page.getByRole("button", { name: "Reset" }).click();
      assertMatch(await countText(page), new RegExp(`^${records.length} of`));
      await assertSeen(page, `${folder}/light.png`);
    });
  },
});

Deno.test({
  name:
    "report: over a token stand its entropies, advantage, KL weight and the terms of the reward, as the log has them",
  ...options,
  fn: async () => {
    const folder = await realRun();
    const records = await generationsOf(folder);
    const inside = (r: Json, t: number) =>
      r.high_entropy.some(([first, end]: [number, number]) => first <= t && t < end);
    // One whose reward is shaped, and whose tokens inside and outside windows have different numbers.
    const r = records.find((r) =>
      r.stage === "aepo" && Math.abs(r.reward.shaping) > 0.001 && r.n_he > 0 && r.n_he < r.length &&
      r.kl_weight.inside.toFixed(4) !== r.kl_weight.outside.toFixed(4) && Math.abs(r.advantage) > 0.001
    );
    assert(r, "no reward is shaped: take another seed");
    const most = r.entropies.indexOf(Math.max(...r.entropies));
    const outside = r.entropies.findIndex((_: number, t: number) => !inside(r, t));
    await withPage(`${folder}/report.html`, async (page) => {
      await open(page, records, r);
      for (const t of new Set([r.high_entropy[0][0], outside, most])) {
        await page.hover(`.tokens.main [data-t="${t}"]`);
        const names = await texts(page, "#card dt");
        const card = Object.fromEntries((await texts(page, "#card dd")).map((text, i) => [names[i], text]));
        assertStringIncludes((await page.locator("#card").textContent())!, `token ${t + 1} of ${r.length}`);
        const [weight, place] = inside(r, t)
          ? [r.kl_weight.inside, "inside"]
          : [r.kl_weight.outside, "outside"];
        assertEquals(card["entropy H"], `${shown(r.entropies[t])} nats`);
        assertMatch(card["window entropy H̄"], new RegExp(`^${shown(r.windows[t])}( ≥|,) τ 0\\.\\d+$`));
        assertEquals(card["high-entropy window"], place);
        assertEquals(card["advantage Ã"].split(" = ")[0], signed(r.advantages[t]));
        assertEquals(card["KL weight"], weight.toFixed(4));
        const terms = [`accuracy ${signed(r.accuracy)}`, `entropy shaping ${signed(r.reward.shaping)}`];
        assertEquals(
          card["reward R"],
          `${signed(r.reward.overall)} = ${(r.accuracy > 0 ? terms : terms.slice(1)).join(", ")}`,
        );
      }
    });
  },
});

Deno.test({
  name:
    "report: each difficulty, answer and kind of branch lists its rollouts and no others, alone and together",
  ...options,
  fn: async () => {
    const folder = await realRun();
    const records = await generationsOf(folder);
    const kinds: Record<string, (r: Json) => string> = {
      difficulty: (r) => r.difficulty ?? r.level,
      answer: (r) => r.accuracy > 0 ? "right" : "wrong",
      branch: (r) => r.parent !== undefined ? "branches" : isParent(records, r) ? "branched" : "alone",
    };
    const values: Record<string, string[]> = {
      difficulty: ["easy", "hard", "medium"],
      answer: ["right", "wrong"],
      branch: ["alone", "branched", "branches"],
    };
    /** What a row says of a rollout. */
    const rowOf = (r: Json) =>
      (r.accuracy > 0 ? "✓" : "✗") +
      ` ${/^evaluate (.*)/.exec(r.stage)?.[1] ?? `iteration ${r.step}`} #${r.sample}` +
      (r.parent === undefined ? "" : ` ↳ #${r.parent}`) + ` · ${kinds.difficulty(r)} · ${r.length} tokens`;
    await withPage(`${folder}/report.html`, async (page) => {
      const assertListed = async (wanted: readonly Json[], what: string) => {
        assert(wanted.length > 0 && wanted.length < records.length, `${what}: ${wanted.length}`);
        assertMatch(await countText(page), new RegExp(`^${wanted.length} of ${records.length} `), what);
        const rows = await page.locator(".row").evaluateAll((rows) =>
          rows.map((row) => `${row.children[0].textContent} ${row.children[2].textContent}`)
        );
        assert(rows.length > 0);
        assertEquals(
          rows.map((row) => row.split(" · ").slice(0, 3).join(" · ")),
          wanted.slice(0, rows.length).map(rowOf),
          what,
        );
      };
      for (const [name, of] of Object.entries(kinds)) {
        assertEquals([...new Set(records.map(of))].sort(), values[name]);
        for (const value of values[name]) {
          await page.selectOption(`[name=${name}]`, value);
          await assertListed(records.filter((r) => of(r) === value), `${name}=${value}`);
        }
        await page.getByRole("button", { name: "Reset" }).click();
      }
      const branch = records.find((r) => r.parent !== undefined)!;
      for (const [name, of] of Object.entries(kinds)) await page.selectOption(`[name=${name}]`, of(branch));
      await assertListed(
        records.filter((r) => Object.values(kinds).every((of) => of(r) === of(branch))),
        "all three",
      );
    });
  },
});

Deno.test({
  name: "report: a branch unfolds below the rollout that it left, with the tokens of its own, and opens",
  ...options,
  fn: async () => {
    const folder = await realRun();
    const records = await generationsOf(folder);
    const branches = records.filter((r) => r.parent !== undefined);
    const below = branches.find((r) => parentOf(records, r).parent !== undefined);
    assert(below, "no branch has branched: take another seed");
    const branch = parentOf(records, below);
    const root = parentOf(records, branch);
    // What makes it a branch: its first tokens are its parent's.
    for (const r of branches) {
      assert(r.branch_step > 0);
      assertEquals(
        r.tokens.slice(0, r.branch_step),
        parentOf(records, r).tokens.slice(0, r.branch_step),
      );
    }
    const group = records.filter((r) => r.stage === "aepo" && r.step === root.step && r.group === root.group);
    const item = (r: Json) => `[role=treeitem][data-rollout="${indexOf(records, r)}"]`;
    const childrenOf = (r: Json) => group.filter((c) => c.parent === r.sample);
    await withPage(`${folder}/report.html`, async (page) => {
      await open(page, records, root);
      assertEquals(
        await page.locator("[role=treeitem]").count(),
        group.filter((r) => r.parent === undefined).length,
      );
      await page.locator(item(root)).focus();
      await page.keyboard.press("ArrowRight"); // unfolds
      await page.keyboard.press("ArrowRight"); // goes to the first branch
      assertEquals(await page.locator("[aria-level='2']").count(), childrenOf(root).length);
      assertEquals(await page.locator("[aria-level='2']:focus").count(), 1);
      assertStringIncludes(
        (await page.locator(`${item(branch)} > .line`).textContent())!,
        `from #${root.sample} at token ${branch.branch_step + 1}, H̄ ${shown(branch.branch_entropy, 2)}`,
      );
      await page.locator(`${item(branch)} > .line .toggle`).click();
      assertEquals(
        (await texts(page, `${item(branch)} > .below > .tokens .t`)).join(""),
        branch.tokens.slice(branch.branch_step).join(""),
      );
      assertEquals(await page.locator("[aria-level='3']").count(), childrenOf(branch).length);
      await page.locator(item(below)).focus();
      await page.keyboard.press("Enter");
      assertEquals((await texts(page, ".tokens.main .t")).join(""), below.tokens.join(""));
      assertEquals(await page.locator(".tokens.main .t.shared").count(), below.branch_step);
      await page.getByRole("button", { name: `↳ from #${branch.sample}` }).click();
      assertEquals((await texts(page, ".tokens.main .t")).join(""), branch.tokens.join(""));
      await page.getByRole("button", { name: `↳#${below.sample}`, exact: true }).click();
      assertEquals(await page.locator("[aria-current=true]").getAttribute("aria-level"), "3");
    });
  },
});

Deno.test({
  name:
    "report: a branch of a problem with a picture is seen with it, in the dark and in a narrow window too",
  ...options,
  fn: async () => {
    const folder = await realRun();
    const records = await generationsOf(folder);
    const seen = records.filter((r) => r.parent !== undefined && r.images && r.n_he > 0)
      .sort((a, b) => b.n_he - a.n_he)[0];
    assert(seen, "no branch has a picture and a window: take another seed");
    const picture = await decoded(await Deno.readFile(`${folder}/pictures/${seen.images[0]}`));
    await withPage(`${folder}/report.html`, async (page) => {
      await open(page, records, seen);
      await assertSeen(page, `${folder}/dark.png`, picture);
      const [red, green, blue] = await colour(page, "page");
      assert(Math.max(red, green, blue) < 64, "the dark scheme is not dark");

      await page.setViewportSize({ width: 400, height: 800 });
      // Unfolds branch after branch: each brings what lies below it.
      const folded = page.locator("[role=treeitem]:not([aria-expanded=true]) > .line .toggle");
      while (await folded.count() > 0) await folded.first().click();
      assertEquals(await page.evaluate(() => document.documentElement.scrollWidth), 400);
      await assertSeen(page, `${folder}/narrow.png`, picture);
    }, "dark");
  },
});

Deno.test({
  name: "report: 2,000 rollouts open at once, scroll and filter with a few rows in the document",
  ...options,
  fn: async () => {
    const run = await realRun();
    const folder = await copyRun(run, `${run}-2000`, repeated(await generationsOf(run), 2000));
    await withPage(await writeReport(folder), async (page, openedIn) => {
      assert(openedIn < 20_000, `${openedIn} ms`);
      assertMatch(await countText(page), /^2000 of 2000/);
      assert(await page.locator(".row").count() < 60);
      await page.locator(".list").focus();
      await page.keyboard.press("End");
      assertEquals(await page.locator(".row[aria-selected=true]").getAttribute("aria-posinset"), "2000");
      assert(await page.locator(".row").count() < 60);
      await page.keyboard.press("Home");
      assertEquals(await page.locator(".row[aria-selected=true]").getAttribute("aria-posinset"), "1");
      assert(await page.locator(".row").count() < 60);
      // Halfway down are the rows of the middle.
      await page.locator(".list").evaluate((list) => list.scrollTop = list.scrollHeight / 2);
      await page.locator(".row[aria-posinset='1001']").waitFor();
      assertEquals(await page.locator(".row[aria-posinset='1']").count(), 0);
      await page.selectOption("[name=answer]", "right");
      const right = Number(/^\d+/.exec(await countText(page))![0]);
      assert(right > 0 && right < 2000);
    });
  },
});

Deno.test({
  name: "report: what a model or a data set writes stays text",
  ...options,
  fn: async () => {
    const run = await realRun();
    const evil =
      `</script><script>document.title="taken"</script><img src=x onerror="document.title='taken'"><!--`;
    const records = (await generationsOf(run)).map((r) => ({
      ...r,
      id: `${evil}${r.id}`,
      source: evil,
      problem: evil,
      answer: evil,
      difficulty: evil,
      tokens: r.tokens?.map(() => evil),
    }));
    const folder = await copyRun(run, `${run}-evil`, records);
    const summary = (await Deno.readTextFile(`${folder}/summary.json`))
      .replaceAll('"sum"', JSON.stringify(evil)).replaceAll('"base"', JSON.stringify(`base${evil}`));
    await Deno.writeTextFile(`${folder}/summary.json`, summary);
    await Deno.writeTextFile(
      `${folder}/config.yaml`,
      `trainer: { experiment_name: ${JSON.stringify(evil)} }\n`,
    );
    await withPage(await writeReport(folder), async (page) => {
      assertStringIncludes(await page.title(), "<script>");
      assertEquals(await page.locator("img").count(), 0);
      assertEquals(await page.locator("script:not([type])").count(), 1);
      assert((await texts(page, ".tokens.main .t")).every((t) => t === evil));
      assertEquals(await page.locator(".problem .text").textContent(), evil);
    });
  },
});
