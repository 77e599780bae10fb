import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { wallTime } from "../../bench/clock.ts";
import { copyWorkload } from "../../bench/copy.ts";
import {
  compare,
  type ComparedRow,
  type Limits,
  ratioOf,
  type Runner,
} from "../../bench/peers/comparison.ts";
import { trainingFlops } from "../../bench/peers/flops.ts";
import { OWN, type Peer, PEERS, pythonPeers } from "../../bench/peers/peers.ts";
import { PassTimes } from "../../bench/peers/passes.ts";
import { PeerFailure, PeerProcess, PeerTooSlow } from "../../bench/peers/process.ts";
import { generationOf, processorName } from "../../bench/peers/processor.ts";
import {
  type CheckedRow,
  checkRatios,
  loadResults,
  resultsName,
  type SavedResults,
  saveResults,
} from "../../bench/peers/results.ts";
import { MARK } from "../../bench/peers/serve.ts";
import { targeted, targetOf, verdict } from "../../bench/peers/targets.ts";
import { configOf, weights, WORKS } from "../../bench/peers/work.ts";
import { SHAPES } from "../../bench/shapes.ts";
import { waitCosts } from "../../bench/waits.ts";
import { allocate } from "../../bench/workload.ts";
import { chosen, ratiosOf, steeringFailures } from "../../cli/bench_peers.ts";
import { checkText, comparisonText } from "../../cli/peer_tables.ts";
import { UserError } from "../../gpu/errors.ts";
import { Program } from "../../gpu/program.ts";
import { oneGpu } from "../shaders/one_gpu.ts";

const [MATMUL] = WORKS;

const limits = (rounds: number, seconds = 60): Limits => ({ rounds, seconds, end: Infinity });

function results(date: string, ratios: SavedResults["ratios"], adapter = "card"): SavedResults {
  return { adapter, driver: "1", date, ratios };
}

const peer = (name: string, more: Partial<Peer> = {}): Peer => ({
  name,
  group: name === OWN ? "own" : "javascript",
  cannot: {},
  command: () => [],
  env: {},
  ...more,
});

/** The rows of these ratios; null: asked for and not measured. */
function rowsOf(ratios: Record<string, Record<string, number | null>>): CheckedRow[] {
  return Object.entries(ratios).flatMap(([work, peers]) =>
    Object.entries(peers).map(([peer, ratio]) => ({
      work,
      peer,
      against: peer === OWN ? null : OWN,
      ratio,
      note: "too slow",
      failed: ratio === null,
      absent: false,
    }))
  );
}

/** Answers with the given seconds in turn; a string is a failure with that reason. */
function runner(value: number, answers: readonly (number | string)[], log: string[] = [], name = ""): Runner {
  let next = 0;
  return {
    ready: () => Promise.resolve({ kind: "ready", what: `${name} 1.0`, values: [value] }),
    run: () => {
      log.push(name);
      const answer = answers[next++];
      return typeof answer === "string"
        ? Promise.reject(new PeerFailure(answer))
        : Promise.resolve({ seconds: answer });
    },
    close: () => {
      log.push(`${name} closed`);
      return Promise.resolve();
    },
  };
}

Deno.test("peers: a ratio that fell by more than 20 % fails the check, one that fell by 20 % does not", () => {
  const saved = [results("2026-01-01", { W1: { a: 1, b: 10 }, W2: { a: 2 } })];
  const check = (ratios: SavedResults["ratios"]) =>
    checkRatios(results("2026-02-01", {}), saved, rowsOf(ratios));
  assertEquals(check({ W1: { a: 0.8, b: 8 }, W2: { a: 1.6 } }).failures, []);
  assertEquals(check({ W1: { a: 5, b: 50 }, W2: { a: 9 } }).failures, []);
  const { failures, changes } = check({ W1: { a: 1, b: 7.99 }, W2: { a: 1 } });
  assertEquals(failures, [
    "W1: 7.99 times b's speed, 10.0 before (20 % less)",
    "W2: 1.00 times a's speed, 2.00 before (50 % less)",
  ]);
  assertEquals(changes.map(({ fell }) => fell), [false, true, true]);
  // Not a number is no ratio that held.
  assertEquals(check({ W1: { a: NaN } }).failures.length, 1);
});

Deno.test("peers: a check takes the newest ratio of the same adapter, whichever file holds it", () => {
  const saved = [
    results("2026-03-01", { W1: { a: 2 } }),
    results("2026-01-01", { W1: { a: 9, b: 4 } }),
    results("2026-04-01", { W1: { a: 100, b: 100 } }, "another card"),
  ];
  const { changes, failures } = checkRatios(
    results("2026-05-01", {}),
    saved,
    rowsOf({ W1: { a: 1.9, b: 3 } }),
  );
  assertEquals(changes.map(({ peer, before }) => [peer, before]), [["a", 2], ["b", 4]]);
  assertEquals(failures, ["W1: 3.00 times b's speed, 4.00 before (25 % less)"]);
});

Deno.test("peers: a check that compared nothing fails; what was not measured is named and counted", () => {
  const now = results("2026-05-01", {});
  const rows = rowsOf({ W1: { a: 1 } });
  assertMatch(checkRatios(now, [], rows).failures[0], /no saved results of card/);
  assertMatch(
    checkRatios(now, [results("2026-01-01", { W1: { a: 1 } }, "other")], rows).failures[0],
    /no saved results of card/,
  );
  const elsewhere = checkRatios(now, [results("2026-01-01", { W2: { a: 1 } })], rows);
  assertMatch(elsewhere.failures[0], /none of the saved ratios was measured/);
  const part = checkRatios(now, [results("2026-01-01", { W1: { a: 1, b: 1 }, W2: { a: 1 } })], rows);
  assertEquals(part.failures, []);
  assertMatch(
    checkText(part),
    /b .*not measured[^]*check passed: 1 of 3 saved ratios measured, none fell by more than 20 %, nothing is steered for too long$/,
  );
});

Deno.test("peers: a saved ratio that was asked for fails the check when it is not measured, unless its peer is absent", () => {
  const saved = [results("2026-01-01", { W1: { a: 1, b: 2 } })];
  const now = results("2026-05-01", {});
  const rows = rowsOf({ W1: { [OWN]: null, a: 1, b: null } }).map((row) =>
    row.peer === OWN ? { ...row, failed: false } : row
  );
  const missed = checkRatios(now, saved, rows);
  assertEquals(missed.failures, ["W1: b was not measured, saved at 2.00 (too slow)"]);
  assertMatch(checkText(missed), /check failed: 1 of 2 saved ratios measured, 1 reasons above$/);
  const absent = rows.map((row) => row.peer === "b" ? { ...row, failed: false, absent: true } : row);
  assertEquals(checkRatios(now, saved, absent).failures, []);
  // Where this project failed nobody has a ratio: that is said once, not for each peer.
  const own = rowsOf({ W1: { [OWN]: null, a: null, b: null }, W2: { a: 1 } });
  const both = [...saved, results("2026-01-02", { W2: { a: 1 } })];
  assertEquals(checkRatios(now, both, own).failures, [`W1: ${OWN}, this project itself, failed`]);
});

Deno.test("peers: results are saved under adapter and date, joined to the same day's, and read back", async () => {
  const folder = await Deno.makeTempDir();
  try {
    assertEquals(await loadResults(`${folder}/none`), []);
    const name = resultsName({ adapter: "llvmpipe (LLVM 15.0.6, 512 bits)", date: "2026-01-02T03:04:05Z" });
    assertEquals(name, "llvmpipe-llvm-15-0-6-512-bits-2026-01-02.json");
    await saveResults(folder, results("2026-01-02T03:00:00Z", { W1: { a: 1, b: 2 }, W2: { a: 3 } }));
    await saveResults(folder, results("2026-01-02T09:00:00Z", { W1: { b: 5 } }));
    await saveResults(folder, results("2026-01-02T09:00:00Z", { W1: { b: 7 } }, "other"));
    const read = (await loadResults(folder)).sort((a, b) => a.adapter < b.adapter ? -1 : 1);
    assertEquals(read, [
      results("2026-01-02T09:00:00Z", { W1: { a: 1, b: 5 }, W2: { a: 3 } }),
      results("2026-01-02T09:00:00Z", { W1: { b: 7 } }, "other"),
    ]);
    for (const text of ["{", "{}", '{"adapter":"x","date":"2026-01-01","ratios":{"W1":{"a":-1}}}']) {
      await Deno.writeTextFile(`${folder}/bad.json`, text);
      await assertRejects(() => loadResults(folder), UserError, "bad.json");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("peers: everyone has a turn a round; a ratio is the median of the rounds' ratios", async () => {
  const log: string[] = [];
  const seconds: Record<string, number[]> = { [OWN]: [1, 2, 4], slow: [2, 8, 8], fast: [0.5, 1, 1] };
  const rows = await compare(
    MATMUL,
    Object.keys(seconds).map((name) => peer(name)),
    limits(3),
    () => {},
    ({ name }) => {
      return runner(5, seconds[name], log, name);
    },
  );
  const turn = [OWN, "slow", "fast"];
  assertEquals(log, [...turn, ...turn, ...turn, ...turn.map((name) => `${name} closed`)]);
  assertEquals(rows.map(({ ratio }) => ratio), [null, 2, 0.5]);
  assertEquals(rows[1].speed, MATMUL.amount / 8);
  assertEquals(ratiosOf(rows), { [MATMUL.name]: { slow: 2, fast: 0.5 } });
  assertEquals([ratioOf([], []), ratioOf([{ seconds: 1 }], [])], [null, null]);
});

Deno.test("peers: a part of this project is held against the whole of the same run", async () => {
  const whole: Runner = {
    ...runner(0, []),
    run: () => Promise.resolve({ seconds: 3, whole: 4 }),
  };
  const peers = [peer(OWN), peer("part", { group: "ceiling" })];
  const start = ({ name }: Peer) => name === OWN ? runner(5, [100, 1, 100]) : whole;
  const rows = await compare(MATMUL, peers, limits(3), () => {}, start);
  // Neither this project's own rounds nor what the part computes count.
  assertEquals(rows.map(({ ratio, failed }) => [ratio, failed]), [[null, false], [0.75, false]]);
});

Deno.test("peers: who is too slow is cut off and keeps the rounds that it did; a failure keeps none", async () => {
  const given: number[] = [];
  const late = (rounds: number): Runner => {
    const own = runner(5, [1, 1, 1]);
    let done = 0;
    return {
      ...own,
      run: async (limit) => {
        given.push(limit);
        if (done++ >= rounds) throw new PeerTooSlow("cut off: not enough for a run");
        await new Promise((resolve) => setTimeout(resolve, 20));
        return { seconds: 2 };
      },
    };
  };
  const peers = [peer(OWN), peer("late"), peer("never")];
  const start = ({ name }: Peer) => name === OWN ? runner(5, [1, 1, 1]) : late(name === "late" ? 2 : 0);
  const rows = await compare(MATMUL, peers, limits(3, 10), () => {}, start);
  assertEquals(rows.map(({ ratio, failed }) => [ratio, failed]), [[null, false], [2, false], [null, true]]);
  assertStringIncludes(rows[1].note, "cut off after 2 of 3 rounds");
  assertStringIncludes(rows[2].note, "not enough for a run");
  // Its time is one sum: each round has what the ones before have left.
  const [first, , second, third] = given;
  assert(first <= 10 && second <= first - 0.015 && third <= second - 0.015, `${given}`);
});

Deno.test("peers: what an iteration is steered for is shown, and too much of it fails the check", async () => {
  const work = WORKS.find(({ kind }) => kind === "aepo")!;
  const steered = async (shares: readonly number[]) => {
    let next = 0;
    const own: Runner = {
      ...runner(0, []),
      run: () => Promise.resolve({ seconds: 20, steering: 20 * shares[next++] }),
    };
    const start = ({ name }: Peer) => name === OWN ? own : runner(0, [1, 1, 1]);
    return await compare(work, [peer(OWN), peer("other")], limits(3), () => {}, start);
  };
  const text = (rows: readonly ComparedRow[]) =>
    comparisonText({ adapter: "card", driver: "1", kind: "discrete", date: "", rounds: 3, rows });
  // The median, over one round on a busy machine.
  const good = await steered([0.012, 0.5, 0.01]);
  assertEquals(good.map(({ steering }) => steering), [0.012, null]);
  assertEquals(steeringFailures(good), []);
  assertMatch(text(good), /AEPO iteration: .*filtering.* take 1\.2 % of it, of the 2\.0 %/);
  const bad = await steered([0.021, 0.021, 0]);
  assertEquals(steeringFailures(bad).length, 1);
  assertMatch(steeringFailures(bad)[0], /take 2\.1 % of it, more than the 2\.0 %/);
  assertEquals(steeringFailures([{ ...bad[0], steering: NaN }]).length, 1);
  // Other work is not steered.
  const rows = await compare(MATMUL, [peer(OWN)], limits(3), () => {}, () => runner(0, [1, 1, 1]));
  assert(!text(rows).includes("filtering"));
});

Deno.test("peers: nothing is begun when the whole comparison's time is up", async () => {
  const started: string[] = [];
  const rows = await compare(
    MATMUL,
    [peer(OWN), peer("other")],
    { rounds: 3, seconds: 60, end: performance.now() },
    () => {},
    ({ name }) => {
      started.push(name);
      return runner(5, [1, 1, 1]);
    },
  );
  assertEquals(started, []);
  for (const row of rows) {
    assertMatch(row.note, /time of the whole comparison was up/);
    // Neither the check nor the exit code takes it for a failure.
    assertEquals(row.failed, false);
  }
});

Deno.test("peers: a second step that went another way is noticed", async () => {
  const steps = (values: number[]): Runner => ({
    ...runner(0, [1, 1, 1]),
    ready: () => Promise.resolve({ kind: "ready", what: "", values }),
  });
  const losses: Record<string, number[]> = {
    [OWN]: [6.27, 6.21],
    same: [6.27, 6.21, 6.1],
    wrong: [6.27, 6.25],
  };
  const rows = await compare(
    WORKS.find(({ kind }) => kind === "train")!,
    Object.keys(losses).map((name) => peer(name)),
    limits(3),
    () => {},
    ({ name }) => steps(losses[name]),
  );
  assertEquals(rows.map(({ failed }) => failed), [false, false, true]);
  assertStringIncludes(rows[2].note, "computes something else: 6.25 in run 2");
});

Deno.test("peers: the operations of a training step are those of its matrices and its attention", () => {
  const tiny = WORKS.find(({ name }) => name === "W2 tiny");
  assert(tiny?.kind === "train");
  // Of a block: q and o, k and v, gate, up and down.
  const block = 2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 384;
  const products = 6 * (4 * block * 16 * 128 + 512 * 128 * 16 * 127);
  const pairs = 16 * 128 * 129 / 2;
  assertEquals(trainingFlops(tiny), products + 4 * 6 * 2 * 128 * pairs);
});

Deno.test("peers: the time in passes is what the device did since the last question, not what the host waited", async () => {
  const gpu = await oneGpu();
  const w = copyWorkload("vec4f", 1 / 64);
  const tensors = allocate(gpu, w);
  const program = new Program(gpu, "passes").add(w.kernel, tensors, w.dims);
  await program.run();
  const times = new PassTimes(gpu);
  try {
    const wall = await wallTime(gpu, async () => {
      // More passes than one query set holds.
      for (let i = 0; i < 2100; i++) await program.run();
      await gpu.idle();
      await new Promise((resolve) => setTimeout(resolve, 300));
      await program.run(50);
    });
    const busy = 1000 * await times.take();
    assert(busy > 0 && busy <= wall - 290, `${busy} of ${wall} ms`);
    assertEquals(await times.take(), 0);
  } finally {
    times.close();
  }
  // Closed, it counts no more.
  await program.run();
  assertEquals(await times.take(), 0);
  program.destroy();
  for (const tensor of Object.values(tensors)) gpu.pool.free(tensor);
});

Deno.test("peers: a wait costs more than a launch, and everything something", async () => {
  const { dispatch, submit, wait, read } = await waitCosts(await oneGpu(), 3);
  for (const cost of [wait, read, submit]) assert(cost > 0, `${cost}`);
  assert(dispatch < wait && submit < wait, `${dispatch}, ${submit}, ${wait}`);
});

Deno.test("peers: who fails, computes something else or cannot stays in the table with the reason", async () => {
  const start = ({ name }: Peer): Runner =>
    name === OWN ? runner(5, [1, 1, 1]) : name === "broken" ? runner(5, [2, "took fire"]) : runner(5.1, []);
  const peers = [
    peer(OWN),
    peer("broken"),
    peer("wrong"),
    peer("unable", { cannot: { matmul: "has no products" } }),
  ];
  const rows = await compare(MATMUL, peers, limits(3), () => {}, start);
  assertEquals(rows.map(({ speed, ratio, failed }) => [speed !== null, ratio, failed]), [
    [true, null, false],
    [false, null, true],
    [false, null, true],
    [false, null, false],
  ]);
  const text = comparisonText({ adapter: "card", driver: "1", kind: "other", date: "", rounds: 3, rows });
  assertStringIncludes(text, `${MATMUL.name}, broken: failed: took fire`);
  assertStringIncludes(text, `${MATMUL.name}, wrong: failed: computes something else: 5.1`);
  assertStringIncludes(text, `unable: has no products (${MATMUL.name})`);
  assertEquals(ratiosOf(rows), {});
});

Deno.test("peers: when this project fails nobody has a ratio; a fault of the bench is not hidden", async () => {
  const start = ({ name }: Peer) => name === OWN ? runner(5, [1, "lost"]) : runner(5, [1, 1, 1]);
  const rows = await compare(MATMUL, [peer(OWN), peer("other")], limits(3), () => {}, start);
  assertEquals(rows.map(({ ratio, failed }: ComparedRow) => [ratio, failed]), [[null, true], [null, false]]);
  await assertRejects(
    () =>
      compare(MATMUL, [peer(OWN)], limits(3), () => {}, () => {
        throw new TypeError("a bug");
      }),
    TypeError,
    "a bug",
  );
});

/** A peer whose process runs this text. */
function script(text: string): Peer {
  return peer("script", { command: () => [Deno.execPath(), "eval", "--no-lock", text] });
}

Deno.test("peers: a process is asked for one run at a time, whatever else it prints", async () => {
  const process = new PeerProcess(
    script(`
      const say = (answer) => console.log(${JSON.stringify(MARK)} + JSON.stringify(answer));
      console.log("loading");
      say({ kind: "ready", what: "script", values: [7] });
      for await (const _ of Deno.stdin.readable) { console.log("working"); say({ kind: "time", seconds: 0.5 }); }
    `),
    MATMUL,
  );
  try {
    assertEquals(await process.ready(60), { kind: "ready", what: "script", values: [7] });
    assertEquals([(await process.run(60)).seconds, (await process.run(60)).seconds], [0.5, 0.5]);
  } finally {
    await process.close();
  }
});

Deno.test("peers: a process that ends, complains or is too slow fails with the reason", async () => {
  const cases: [string, number, RegExp][] = [
    ["console.error('no such device'); Deno.exit(3);", 60, /ended \(exit code 3\): no such device/],
    [
      "console.error('error: lost\\n\\ntrace\\n 0: ?'); Deno.exit(1);",
      60,
      /ended \(exit code 1\): error: lost$/,
    ],
    [
      `console.log(${JSON.stringify(MARK)} + '{"kind":"error","reason":"out of memory"}')`,
      60,
      /^out of memory$/,
    ],
    ["setTimeout(() => {}, 60_000)", 1, /cut off: 1 s were not enough to get ready/],
  ];
  for (const [text, limit, reason] of cases) {
    const process = new PeerProcess(script(text), MATMUL);
    try {
      const error = await assertRejects(() => process.ready(limit), PeerFailure);
      assertMatch(error.message, reason);
    } finally {
      await process.close();
    }
  }
});

Deno.test("peers: a program that is not there fails with its name", async () => {
  const missing = peer("missing", { command: () => ["/nowhere/python", "script"] });
  const start = (p: Peer) => p === missing ? new PeerProcess(p, MATMUL) : runner(5, [1, 1, 1]);
  const rows = await compare(MATMUL, [peer(OWN), missing], limits(3), () => {}, start);
  assert(rows[1].failed);
  assertStringIncludes(rows[1].note, "/nowhere/python cannot be started");
});

Deno.test("peers: names choose works, peers or both; this project always takes part", () => {
  const names = (...wanted: string[]) => {
    const { works, peers } = chosen(wanted, PEERS, "discrete");
    return [works.length, peers.map(({ name }) => name)];
  };
  assertEquals(names(), [WORKS.length, PEERS.map(({ name }) => name)]);
  assertEquals(names("w1", "jax-js"), [4, [OWN, "jax-js webgpu", "jax-js wasm"]]);
  assertEquals(names("gpu.js"), [WORKS.length, [OWN, "gpu.js webgpu"]]);
  assertThrows(
    () => chosen(["W1", "nothing"], PEERS, "other"),
    UserError,
    "no work and no peer is called nothing",
  );
});

Deno.test("peers: every peer says why it leaves out work; every kind of work has somebody but W4 and AEPO", () => {
  for (const { kind } of WORKS) {
    const able = PEERS.filter((p) => p.group === "javascript" && p.cannot[kind] === undefined);
    assertEquals(able.length > 0, kind !== "grpo" && kind !== "aepo", kind);
    for (const p of PEERS) assert(p.cannot[kind] === undefined || p.cannot[kind].length > 10, p.name);
  }
});

Deno.test("peers: a work's model is the whole of the shape it is timed on; weights have one deviation", () => {
  for (const work of WORKS) {
    if (work.kind === "matmul" || work.kind === "aepo") continue;
    const { config: own } = work.model.hidden_size === 128 ? SHAPES.tiny : SHAPES.small;
    // Through JSON, as a peer's process gets it; `raw` keeps the text that it was read from.
    const read = configOf(JSON.parse(JSON.stringify(work.model)));
    assertEquals({ ...read, raw: own.raw }, own);
  }
  const drawn = weights("model.layers.0.mlp.up_proj.weight", [100, 100]);
  const deviation = Math.sqrt(drawn.reduce((sum, w) => sum + w * w, 0) / drawn.length);
  assert(Math.abs(deviation - 0.02) < 5e-4, `${deviation}`);
});

Deno.test("peers: what a ratio is beside floor and goal", () => {
  assertEquals(verdict(0.9, { floor: 1, goal: null }), "below the floor");
  assertEquals(verdict(1, { floor: 1, goal: null }), "above the floor");
  assertEquals(verdict(1.5, { floor: 1, goal: 2 }), "below the goal");
  assertEquals(verdict(2, { floor: null, goal: 2 }), "goal reached");
  assertEquals(verdict(null, { floor: 1, goal: 2 }), "");
  const none = { floor: null, goal: null };
  assertEquals(targetOf({ work: "W3 tiny", peer: "HF generate" }, "software"), { floor: 0.4, goal: 1 });
  assertEquals(targetOf({ work: "W3 tiny", peer: "gpu.js" }, "software"), none);
  assertEquals(targetOf({ work: "W2 small", peer: "PyTorch" }, "discrete"), { floor: null, goal: 0.6 });
  assertEquals(targetOf({ work: "W2 small", peer: "PyTorch" }, "software"), none);
  assertEquals(targetOf({ work: "W2 small", peer: "jax-js webgpu" }, "discrete"), none);
  assertEquals(targeted("other"), []);
  // A target under a name that nothing has would never be looked at, nor one of a work that is not done there.
  for (const kind of ["software", "discrete"] as const) {
    const { works, peers } = chosen([], [...PEERS, ...pythonPeers("", "")], kind);
    for (const [work, peer] of targeted(kind)) {
      assert(works.some(({ name }) => name === work), work);
      assert(peers.some(({ name }) => name === peer), peer);
    }
  }
});

Deno.test("peers: a processor is told from others of the same name", () => {
  const text = (model: number, flags: string) =>
    `processor\t: 0\ncpu family\t: 25\nmodel\t\t: ${model}\nmodel name\t: AMD EPYC\nflags\t\t: fpu ${flags}\n`;
  assertEquals(generationOf(text(1, "avx avx2")), " family 25 model 1, avx2");
  assertEquals(generationOf(text(17, "avx avx2 avx512f avx512bw")), " family 25 model 17, avx512f");
  assertEquals(generationOf("processor : 0\n"), "");
  assertMatch(processorName(), /, \d+ cores$/);
});
