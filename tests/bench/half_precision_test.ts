import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { adapterKind } from "../../bench/peers/adapter_kind.ts";
import { compare, type Limits, type Runner } from "../../bench/peers/comparison.ts";
import { OWN, OWN_HALF, type Peer, PEERS, pythonPeers } from "../../bench/peers/peers.ts";
import { PeerAbsent, PeerProcess } from "../../bench/peers/process.ts";
import { MARK } from "../../bench/peers/serve.ts";
import { WORKS } from "../../bench/peers/work.ts";
import { chosen, ratiosOf } from "../../cli/bench_peers.ts";
import { comparisonText } from "../../cli/peer_tables.ts";

const EVERYONE = [...PEERS, ...pythonPeers("python", "scripts")];
const LIMITS: Limits = { rounds: 3, seconds: 60, end: Infinity };
const [MATMUL] = WORKS;
const TRAIN = WORKS.find(({ kind }) => kind === "train")!;

/** Four of 32 and 16 bits, this project's and others'. */
const FOUR = ["PyTorch", "PyTorch bf16"].flatMap((name) => EVERYONE.filter((p) => p.name === name));
const PAIRS = [...EVERYONE.filter(({ group }) => group === "own"), ...FOUR];

function runner(values: readonly number[], seconds: number): Runner {
  return {
    ready: () => Promise.resolve({ kind: "ready", what: "", values }),
    run: () => Promise.resolve({ seconds }),
    close: () => Promise.resolve(),
  };
}

Deno.test("half precision: 16 bits are held against 16 bits, 32 against 32, and the table says which", async () => {
  const seconds: Record<string, number> = { [OWN]: 4, [OWN_HALF]: 1, "PyTorch": 2, "PyTorch bf16": 3 };
  const rows = await compare(MATMUL, PAIRS, LIMITS, () => {}, ({ name }) => runner([1], seconds[name]));
  assertEquals(rows.map(({ peer, against, ratio }) => [peer, against, ratio]), [
    [OWN, null, null],
    [OWN_HALF, null, null],
    ["PyTorch", OWN, 0.5],
    ["PyTorch bf16", OWN_HALF, 3],
  ]);
  assertEquals(ratiosOf(rows), { [MATMUL.name]: { "PyTorch": 0.5, "PyTorch bf16": 3 } });
  const text = comparisonText({ adapter: "a", driver: "", kind: "discrete", date: "", rounds: 3, rows });
  assert(/PyTorch bf16 .*│ ares float16 +│ +3\.00/.test(text), text);
  assert(/PyTorch {2}.*│ ares +│ +0\.500/.test(text), text);
});

Deno.test("half precision: rounding to 16 bits is no other computation, a wrong one is", async () => {
  const failed = async (work: typeof MATMUL, own: number, halved: number) => {
    const rows = await compare(
      work,
      PAIRS,
      LIMITS,
      () => {},
      ({ name }) => runner([name === OWN_HALF ? halved : own], 1),
    );
    return rows.filter(({ failed }) => failed).map(({ peer }) => peer);
  };
  // W1's element is a sum of 512 products of factors in ±½.
  assertEquals(await failed(MATMUL, -0.4089, -0.416), []);
  assertEquals(await failed(MATMUL, -0.4089, -0.43), [OWN_HALF]);
  assertEquals(await failed(TRAIN, 6.266, 6.27), []);
  assertEquals(await failed(TRAIN, 6.266, 6.21), [OWN_HALF]);
});

Deno.test("half precision: without float16 on this adapter its row is absent, not failed, and bf16 has no ratio", async () => {
  const start = ({ name }: Peer): Runner =>
    name === OWN_HALF
      ? { ...runner([1], 1), ready: () => Promise.reject(new PeerAbsent("needs shader-f16")) }
      : runner([1], 1);
  const rows = await compare(MATMUL, PAIRS, LIMITS, () => {}, start);
  assertEquals(rows.map(({ ratio, failed, absent }) => [ratio, failed, absent]), [
    [null, false, false],
    [null, false, true],
    [1, false, false],
    [null, false, false],
  ]);
  const text = comparisonText({ adapter: "a", driver: "", kind: "discrete", date: "", rounds: 3, rows });
  assertStringIncludes(text, `${OWN_HALF}: needs shader-f16 (${MATMUL.name})`);
});

Deno.test("half precision: a process that says what it lacks is absent", async () => {
  const text = `console.log(${JSON.stringify(MARK)} + '{"kind":"unavailable","reason":"no module torch"}')`;
  const peer = { ...PEERS[0], command: () => [Deno.execPath(), "eval", "--no-lock", text] };
  const start = (p: Peer) => new PeerProcess(p, MATMUL);
  const [row] = await compare(MATMUL, [peer], LIMITS, () => {}, start);
  assertEquals([row.absent, row.failed, row.note], [true, false, "no module torch"]);
});

Deno.test("half precision: on a software adapter 16 bits and the large product wait for their names", () => {
  const taken = (kind: "software" | "discrete", ...names: string[]) => {
    const { works, peers } = chosen(names, EVERYONE, kind);
    return {
      large: works.some(({ name }) => name === "W1 4096x4096x4096"),
      works: works.length,
      halves: peers.filter(({ half }) => half).map(({ name }) => name),
    };
  };
  const all = WORKS.length;
  assertEquals(taken("software"), { large: false, works: all - 1, halves: [] });
  assertEquals(taken("discrete"), { large: true, works: all, halves: [OWN_HALF, "PyTorch bf16"] });
  // A name that fits others too means those: `W1` and `PyTorch` as they were.
  assertEquals(taken("software", "W1", "PyTorch"), { large: false, works: 3, halves: [] });
  assertEquals(taken("software", "4096x4096", "bf16"), {
    large: true,
    works: 1,
    halves: [OWN_HALF, "PyTorch bf16"],
  });
  assertEquals(taken("discrete", "W4", "TRL"), { large: false, works: 1, halves: [] });
});

Deno.test("half precision: Python's script is told of its 16 bits, and this project's", () => {
  const argument = (name: string) => EVERYONE.find((p) => p.name === name)!.command("{}").at(-1);
  assertEquals([OWN_HALF, OWN, "PyTorch bf16", "PyTorch"].map(argument), [
    "float16",
    "{}",
    "bfloat16",
    "{}",
  ]);
});

Deno.test("adapters: a card is told from what shares its memory, and from software", () => {
  const kind = (name: string, vendor = "", software = false) => adapterKind({ name, vendor, software });
  assertEquals(kind("llvmpipe (LLVM 15.0.6, 512 bits)", "65541", true), "software");
  for (
    const card of [
      "NVIDIA H200",
      "AMD Radeon RX 7900 XTX (RADV NAVI31)",
      "AMD Radeon Pro W7900",
      "AMD Instinct MI300X",
      "Intel(R) Arc(TM) A770 Graphics (DG2)",
    ]
  ) assertEquals(kind(card), "discrete", card);
  assertEquals(kind("Quadro RTX 6000", "4318"), "discrete");
  for (
    const shared of [
      "NVIDIA Tegra Orin (nvgpu)",
      "AMD Radeon Graphics (RADV PHOENIX)",
      "AMD Radeon 780M",
      "Intel(R) Arc(TM) Graphics (MTL)",
      "Intel(R) UHD Graphics 770",
      "Apple M3 Max",
    ]
  ) assertEquals(kind(shared), "other", shared);
});
