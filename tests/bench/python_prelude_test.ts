import { assertEquals } from "@std/assert";
import { PRELUDE } from "../../bench/peers/python.ts";
import { type Answer, MARK } from "../../bench/peers/serve.ts";
import { WORKS } from "../../bench/peers/work.ts";

/** Any interpreter will do: PyTorch is played by a module that writes down what is asked of it. */
const PYTHON = await (async () => {
  for (const program of ["python3", "python"]) {
    const found = await new Deno.Command(program, { args: ["--version"] }).output().catch(() => undefined);
    if (found?.success) return program;
  }
})();

const TORCH = `
import sys
from types import SimpleNamespace as Names
__version__ = "0.0"
log = lambda *words: print(*words, file=sys.stderr)
class Flags:
    def __setattr__(self, name, value): log(name, value)
backends = Names(cuda=Names(matmul=Flags()), cudnn=Flags())
cuda = Names(is_available=lambda: True, get_device_name=lambda: "card", synchronize=lambda: log("wait"))
set_num_threads = lambda n: None
set_float32_matmul_precision = lambda name: log("precision", name)
`;

const SCRIPT = `${PRELUDE}
tick = time.perf_counter
def clock():
    torch.log("clock")
    return tick() + 100 * len(ticks)
ticks = []
time.perf_counter = clock
def matmul():
    def run(repeats):
        torch.log("run")
        ticks.append(1)
        return 1.0
    return run
serve({"matmul": matmul})
`;

/** What the script says, and what it asked of PyTorch, line by line; `modules`: which there are. */
async function run(modules: Readonly<Record<string, string>>, ...more: string[]) {
  const folder = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries({ ...modules, peer: SCRIPT })) {
      await Deno.writeTextFile(`${folder}/${name}.py`, text);
    }
    const { stdout, stderr } = await new Deno.Command(PYTHON!, {
      // Without the interpreter's own packages: it may have the real ones.
      args: ["-S", `${folder}/peer.py`, JSON.stringify(WORKS[0]), ...more],
      env: { PYTHONPATH: "" },
      stdin: "null",
    }).output();
    const [said, log] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes).trim().split("\n"));
    return { answer: JSON.parse(said[0].slice(MARK.length)) as Answer, log };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name: "python: TF32 is off, and the card is waited for before either clock is read",
  ignore: PYTHON === undefined,
  async fn() {
    const { answer, log } = await run({ numpy: "", torch: TORCH });
    assertEquals(log.slice(0, 3), ["allow_tf32 False", "allow_tf32 False", "precision highest"]);
    const timed = ["wait", "clock", "run", "wait", "clock"];
    // One run that took long, and the one that decides on repeats.
    assertEquals(log.slice(3), [...timed, ...timed]);
    assertEquals(answer.kind === "ready" && answer.what, "PyTorch 0.0, card, float32, TF32 off");
    const halved = await run({ numpy: "", torch: TORCH }, "bfloat16");
    assertEquals(halved.answer.kind === "ready" && halved.answer.what, "PyTorch 0.0, card, bf16");
  },
});

Deno.test({
  name: "python: an interpreter without PyTorch is no failure",
  ignore: PYTHON === undefined,
  async fn() {
    const { answer } = await run({ numpy: "" });
    assertEquals(answer, {
      kind: "unavailable",
      reason: "not under this Python: No module named 'torch'",
    });
  },
});
