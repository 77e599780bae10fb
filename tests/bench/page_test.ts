import { assertEquals, assertThrows } from "@std/assert";
import { ratiosSection, withRatios } from "../../bench/peers/page.ts";
import { loadResults } from "../../bench/peers/results.ts";
import { RATIOS_PAGE, RESULTS_FOLDER } from "../../cli/bench_peers.ts";
import { UserError } from "../../gpu/errors.ts";

const [BEGIN, END] = [
  "<!-- ratios: begin, by bench --save -->\n<!-- deno-fmt-ignore-start -->\n",
  "<!-- deno-fmt-ignore-end -->\n<!-- ratios: end -->",
];

Deno.test("page: works down, peers across, in their order; the newest ratio of each adapter", () => {
  const at = (date: string, adapter: string, ratios: Record<string, Record<string, number>>) => ({
    adapter,
    driver: `driver of ${date}`,
    date: `${date}T00:00:00Z`,
    ratios,
  });
  const section = ratiosSection([
    at("2026-02-01", "b", { "W2 tiny": { PyTorch: 0.5 }, "W1 512x512x512": { "jax-js webgpu": 12.345 } }),
    at("2026-01-01", "b", { "W2 tiny": { PyTorch: 0.4, "gone": 7 } }),
    at("2026-01-01", "a", { "W4 tiny": { TRL: 2 } }),
  ]);
  assertEquals(
    section,
    `### a

Measured 2026-01-01; driver driver of 2026-01-01.

| work | TRL |
| --- | --: |
| W4 tiny | 2.00 |

### b

Measured 2026-01-01, 2026-02-01; driver driver of 2026-02-01.

| work | jax-js webgpu | PyTorch | gone |
| --- | --: | --: | --: |
| W1 512x512x512 | 12.3 |  |  |
| W2 tiny |  | 0.500 | 7.00 |
`,
  );
});

Deno.test("page: the section is written between its marks and nowhere else", () => {
  const page = (section: string) => `before\n${BEGIN}${section}${END}\nafter\n`;
  assertEquals(withRatios(page("old\n"), "new\n"), page("new\n"));
  for (
    const wrong of ["no marks", `${BEGIN}no end`, `${END}${BEGIN}`, page("") + page(""), BEGIN + page("")]
  ) {
    assertThrows(() => withRatios(wrong, "new\n"), UserError, "once, in this order");
  }
});

Deno.test("page: the published ratios are the saved ones", async () => {
  const page = await Deno.readTextFile(RATIOS_PAGE);
  assertEquals(withRatios(page, ratiosSection(await loadResults(RESULTS_FOLDER))), page);
});
