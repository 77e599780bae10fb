/** The report of a real run, opened from the disk in a headless browser. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { microRows } from "../../data/micro/world.ts";
import type { Picture } from "../../data/picture.ts";
import { loadConfig } from "../../trainer/config.ts";
import { KeptPictures } from "../../trainer/kept_pictures.ts";
import { silent } from "../../trainer/monitor.ts";
import { writeReport } from "../../trainer/report/write_report.ts";
import { train } from "../../trainer/scheduler.ts";
import { oneGpu } from "../shaders/one_gpu.ts";
import { findChromium, openChromium } from "./chromium.ts";
import { branched, copyRun, generationsOf, repeated } from "./run_copy.ts";

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
      "data.micro.val_count=8",
      "adacs.problems=8",
      "adacs.max_tokens=600",
      "adacs.batch_size=8",
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
      for (const title of ["accuracy", "response length, tokens", "loss, nats a token"]) {
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
      assert(await page.locator("#lengths circle").count() >= 8 * 3);

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
      const shown = (x: number) => x.toFixed(3).replace(/^-(?=0\.000)/, "").replace("-", "−");
      assertEquals(terms["entropy shaping"], shown(most.reward.shaping));
      assertEquals(terms["reward R"], shown(most.reward.overall));

      const [first] = most.high_entropy[0];
      await page.hover(`.tokens.main [data-t="${first}"]`);
      const card = (await page.locator("#card").textContent())!;
      assertStringIncludes(card, `token ${first + 1} of ${most.length}`);
      assertStringIncludes(card, `${most.entropies[first].toFixed(3)} nats`);
      assertStringIncludes(card, "inside");
      assertStringIncludes(card, most.kl_weight.inside.toFixed(4));
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
    });
  },
});

Deno.test({
  name: "report: a branch unfolds below the rollout that it left, with the tokens of its own, and opens",
  ...options,
  fn: async () => {
    const run = await realRun();
    const [{ images }] = microRows({ seed: 1, count: 1, split: "train", families: ["grid"] });
    const picture = await new KeptPictures(`${run}-branched/pictures`).keep(images![0]);
    const records = branched(await generationsOf(run))
      .map((r): Record<string, any> => ({ ...r, images: [picture] }));
    const folder = await copyRun(run, `${run}-branched`, records);
    await withPage(await writeReport(folder), async (page) => {
      const branches = records.filter((r) => r.parent !== undefined);
      await page.selectOption("[name=branch]", "branches");
      assertMatch(await countText(page), new RegExp(`^${branches.length} of`));
      await page.selectOption("[name=branch]", "branched");
      await page.locator(".row").first().click();
      const drawn = page.locator(".problem img");
      const { width } = images![0] as Picture;
      assertEquals(await drawn.evaluate((img) => (img as HTMLImageElement).naturalWidth), width);

      const of = (sample: number) =>
        records.find((r) => r.stage === "aepo" && r.step === 1 && r.group === 0 && r.sample === sample)!;
      assertEquals(await page.locator("[role=treeitem]").count(), 2); // samples 0 and 3; 1 and 2 lie below
      await page.locator("[role=treeitem]").first().focus();
      await page.keyboard.press("ArrowRight"); // unfolds
      await page.keyboard.press("ArrowRight"); // goes to the branch
      const branch = page.locator("[role=treeitem][aria-level='2']");
      assertEquals(await branch.count(), 1);
      assertStringIncludes((await branch.textContent())!, `from #0 at token ${of(1).branch_step + 1}`);
      await page.keyboard.press("ArrowRight");
      assertEquals(
        (await texts(page, "[aria-level='2'] > .below > .tokens .t")).join(""),
        of(1).tokens.slice(of(1).branch_step).join(""),
      );
      assertEquals(await page.locator("[aria-level='3']").count(), 1);
      await page.keyboard.press("Enter");
      assertEquals(await page.locator(".tokens.main .t.shared").count(), of(1).branch_step);
      await page.getByRole("button", { name: "↳ from #0" }).click();
      assertEquals((await texts(page, ".tokens.main .t")).join(""), of(0).tokens.join(""));
      await page.getByRole("button", { name: "↳#1", exact: true }).click();
      assertEquals(await page.locator("[aria-current=true]").getAttribute("aria-level"), "2");
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
