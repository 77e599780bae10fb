import { assert, assertEquals } from "@std/assert";
import { DIFFICULTIES } from "../../data/micro/problem.ts";
import { FAMILY_NAMES, type MicroRow, VISIBLE_FAMILIES } from "../../data/micro/world.ts";
import { loadConfig } from "../../trainer/config.ts";
import { silent } from "../../trainer/monitor.ts";
import { loadRows } from "../../trainer/run_rows.ts";

async function microRowsOf(
  sources: { preset?: string; overrides?: string[] },
  seesPictures: boolean,
): Promise<{ train: MicroRow[]; val: MicroRow[] }> {
  return await loadRows(loadConfig(sources).config, seesPictures, silent) as {
    train: MicroRow[];
    val: MicroRow[];
  };
}

/** Rows of each family and difficulty, as `family k`. */
function cells(rows: readonly MicroRow[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { source, k } of rows) counts.set(`${source} ${k}`, (counts.get(`${source} ${k}`) ?? 0) + 1);
  return counts;
}

const sourcesOf = (rows: readonly MicroRow[]) => new Set(rows.map((row) => row.source));

Deno.test("run rows: a model gets the families that it can see, or the ones asked for", async () => {
  const few = ["data.micro.train_count=48", "data.micro.val_count=48"];
  for (const split of ["train", "val"] as const) {
    const all = (await microRowsOf({ overrides: few }, true))[split];
    assertEquals(sourcesOf(all), new Set(FAMILY_NAMES));
    const text = (await microRowsOf({ overrides: few }, false))[split];
    assertEquals(sourcesOf(text), new Set(VISIBLE_FAMILIES.text));
    const overrides = [...few, "data.micro.families=[odd, gap]"];
    // Asked for by name they come to any model, which then says that it cannot see them.
    for (const seesPictures of [true, false]) {
      const asked = (await microRowsOf({ overrides }, seesPictures))[split];
      assertEquals(sourcesOf(asked), new Set(["odd", "gap"]));
    }
  }
});

for (const preset of ["default", "smoke"]) {
  Deno.test(`run rows: the counts of preset ${preset} cover every family and difficulty evenly`, async () => {
    const { problems } = loadConfig({ preset }).config.adacs;
    for (const kind of ["text", "vision"] as const) {
      const { train, val } = await microRowsOf({ preset }, kind === "vision");
      for (const rows of [train, val, train.slice(0, problems!)]) {
        const counts = [...cells(rows).values()];
        assertEquals(counts.length, VISIBLE_FAMILIES[kind].length * DIFFICULTIES.length);
        assert(Math.max(...counts) - Math.min(...counts) <= 1, `${kind}: ${counts}`);
      }
    }
  });
}
