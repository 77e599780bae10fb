import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Writable } from "node:stream";
import { formatSpeed, formatTime, Progress } from "../../cli/progress.ts";

class Sink extends Writable {
  isTTY: boolean;
  columns = 100;
  text = "";

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  override _write(chunk: unknown, _encoding: string, done: () => void): void {
    this.text += String(chunk);
    done();
  }
}

Deno.test("progress: elsewhere than on a terminal, a line every five seconds with speed and time left", () => {
  const sink = new Sink(false);
  let clock = 100;
  const progress = new Progress(sink, () => clock);
  const phase = progress.phase("AEPO", 40, "steps");
  for (let i = 0; i < 12; i++) {
    clock += 1;
    phase.advance(2, `loss ${i}`);
  }
  assertEquals(sink.text.split("\n"), [
    "AEPO 10/40 steps · 2.00 steps/s · 15 s left · loss 4",
    "AEPO 20/40 steps · 2.00 steps/s · 10 s left · loss 9",
    "",
  ]);
  progress.say("checkpoint saved");
  clock += 6;
  phase.finish();
  phase.finish();
  assertEquals(sink.text.split("\n").slice(2), [
    "checkpoint saved",
    "AEPO: 24 steps in 18 s (1.33 steps/s) · loss 11",
    "",
  ]);
  assert(!sink.text.includes("\x1b"));
});

Deno.test("progress: an unknown total shows speed and no time left", () => {
  const sink = new Sink(false);
  let clock = 0;
  const progress = new Progress(sink, () => clock);
  const phase = progress.phase("sampling", null, "tokens");
  clock = 5;
  phase.advance(1000);
  assertEquals(sink.text, "sampling 1000 tokens · 200 tokens/s\n");
});

Deno.test("progress: a new phase and close end the one before", () => {
  const sink = new Sink(false);
  let clock = 0;
  const progress = new Progress(sink, () => clock);
  progress.phase("first", 2, "rows").advance(2);
  clock = 1;
  progress.phase("second", 2, "rows");
  progress.close();
  progress.say("end");
  assertEquals(sink.text, "first: 2 rows in 1.0 s (2.00 rows/s)\nsecond: 0 rows in 0.0 s\nend\n");
});

Deno.test("progress: on a terminal a bar, then the closing line, the cursor never hidden", () => {
  const sink = new Sink(true);
  let clock = 0;
  const progress = new Progress(sink, () => clock);
  const phase = progress.phase("rollouts", 8, "prompts");
  clock = 2;
  phase.advance(4, "reward 0.5");
  progress.say("a word in between");
  phase.finish();
  assertStringIncludes(
    sink.text,
    "████████████░░░░░░░░░░░░ rollouts 4/8 prompts · 2.00 prompts/s · 2.0 s left · reward 0.5",
  );
  assertStringIncludes(sink.text, "\x1b[Ka word in between\n");
  assert(sink.text.endsWith("rollouts: 4 prompts in 2.0 s (2.00 prompts/s) · reward 0.5\n"));
  assert(!sink.text.includes("\x1b[?25l"));
});

Deno.test("progress: times and speeds in words", () => {
  assertEquals([0, 0.31, 9.96, 59.4, 60, 185, 3599.6, 7380].map(formatTime), [
    "0.0 s",
    "0.3 s",
    "10 s",
    "59 s",
    "1 min 00 s",
    "3 min 05 s",
    "1 h 00 min",
    "2 h 03 min",
  ]);
  assertEquals([0, 0.05, 0.5, 12.34, 1234.5].map((speed) => formatSpeed(speed, "steps")), [
    "0 steps/s",
    "3.0 steps/min",
    "0.50 steps/s",
    "12.3 steps/s",
    "1235 steps/s",
  ]);
});

Deno.test("progress: a passing line gives way to the next one on a terminal, and elsewhere it is not there", () => {
  const sink = new Sink(true);
  const progress = new Progress(sink);
  progress.pass("1 class");
  progress.pass("2 classes");
  assertEquals(sink.text, "\r\x1b[K1 class\r\x1b[K2 classes");
  sink.text = "";
  progress.say("done");
  progress.say("more");
  assertEquals(sink.text, "\r\x1b[Kdone\nmore\n");
  sink.text = "";
  progress.pass("3 classes");
  progress.close();
  assertEquals(sink.text, "\r\x1b[K3 classes\r\x1b[K");
  const file = new Sink(false);
  new Progress(file).pass("1 class");
  assertEquals(file.text, "");
});
