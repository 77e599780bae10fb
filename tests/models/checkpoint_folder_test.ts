import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import {
  configForSaving,
  loadModelConfig,
  type ModelConfig,
  parameterShapes,
  parseModelConfig,
} from "../../models/config.ts";
import { type NamedTensor, openCheckpoint, saveCheckpoint } from "../../models/checkpoint_folder.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../../models/safetensors.ts";

function makeConfig(change: Record<string, unknown> = {}): ModelConfig {
  return parseModelConfig({
    model_type: "qwen2",
    vocab_size: 12,
    hidden_size: 16,
    intermediate_size: 20,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-6,
    rope_theta: 1e4,
    tie_word_embeddings: true,
    torch_dtype: "bfloat16",
    ...change,
  }, "config.json");
}

/** Whole numbers up to 256, which every dtype holds exactly. */
function makeTensors(config: ModelConfig, first = 1): NamedTensor[] {
  return [...parameterShapes(config)].map(([name, shape], i) => ({
    name,
    shape,
    data: Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      (_, j) => (first + 7 * i + j) % 256,
    ),
  }));
}

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Every file of a folder with its bytes. */
async function contents(folder: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const { name, isFile } of Deno.readDir(folder)) {
    files[name] = isFile ? (await Deno.readFile(`${folder}/${name}`)).toBase64() : "folder";
  }
  return files;
}

async function assertHolds(folder: string, tensors: NamedTensor[]): Promise<void> {
  const checkpoint = await openCheckpoint(folder, await loadModelConfig(folder));
  assertEquals(checkpoint.shapes.size, tensors.length);
  for (const { name, data } of tensors) assertEquals(await checkpoint.readF32(name), data);
}

for (const dtype of ["float32", "bfloat16", "float16"] as const) {
  Deno.test(`checkpoint: saved as ${dtype} and opened again`, () =>
    withFolder(async (root) => {
      const config = makeConfig();
      const tensors = makeTensors(config);
      await saveCheckpoint(`${root}/out/`, { config, tensors: tensors.toReversed(), dtype });
      assertEquals(Object.keys(await contents(root)), ["out"]);
      assertEquals(
        JSON.parse(await Deno.readTextFile(`${root}/out/config.json`)),
        configForSaving(config, dtype),
      );
      await assertHolds(`${root}/out`, tensors);
      const checkpoint = await openCheckpoint(`${root}/out`, config);
      assertEquals(
        checkpoint.dtypeOf("model.norm.weight"),
        { float32: "F32", bfloat16: "BF16", float16: "F16" }[dtype],
      );
      assertEquals((await openSafetensors(`${root}/out/model.safetensors`)).metadata.format, "pt");
      await assertRejects(async () => await checkpoint.readF32("lm_head.weight"), Error, "not a parameter");
    }));
}

Deno.test("checkpoint: shards with an index; a tensor above the limit gets a shard of its own", () =>
  withFolder(async (folder) => {
    const config = makeConfig({ tie_word_embeddings: false });
    const tensors = makeTensors(config);
    await saveCheckpoint(`${folder}/out`, { config, tensors, shardBytes: 1000 });
    const { weight_map, metadata } = JSON.parse(
      await Deno.readTextFile(`${folder}/out/model.safetensors.index.json`),
    );
    const count = tensors.reduce((sum, { data }) => sum + data.length, 0);
    assertEquals(metadata, { total_parameters: count, total_size: 4 * count });
    assertEquals(Object.keys(weight_map).sort(), tensors.map(({ name }) => name).sort());
    const shards = [...new Set(Object.values<string>(weight_map))].sort();
    assert(shards.length > 3, String(shards));
    for (const [i, shard] of shards.entries()) {
      const number = (n: number): string => String(n).padStart(5, "0");
      assertEquals(shard, `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`);
      const { tensors: inShard } = await openSafetensors(`${folder}/out/${shard}`);
      const bytes = [...inShard.values()].reduce((sum, { begin, end }) => sum + end - begin, 0);
      assert(bytes <= 1000 || inShard.size === 1, `${shard}: ${bytes} bytes, ${inShard.size} tensors`);
    }
    await assertHolds(`${folder}/out`, tensors);
    await Deno.remove(`${folder}/out/${shards[1]}`);
    await assertRejects(() => openCheckpoint(`${folder}/out`, config), UserError, shards[1]);
  }));

/** Writes a model folder from tensors that `change` spoils, and opens it. */
async function openSpoiled(
  change: (tensors: TensorToWrite[]) => TensorToWrite[],
  config = makeConfig(),
): Promise<void> {
  await withFolder(async (folder) => {
    await writeSafetensors(`${folder}/model.safetensors`, change(makeTensors(config)));
    await openCheckpoint(folder, config);
  });
}

const tensorOf = (name: string, ...shape: number[]): TensorToWrite => ({
  name,
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});

Deno.test("checkpoint: missing, extra and misshapen tensors are listed with their shapes", async () => {
  await openSpoiled((list) => list);
  const without = (name: string) => (list: TensorToWrite[]) => list.filter((tensor) => tensor.name !== name);
  await assertRejects(
    () => openSpoiled(without("model.norm.weight")),
    UserError,
    "model.norm.weight: missing, expected [16]",
  );
  await assertRejects(
    () => openSpoiled((list) => [...list, tensorOf("model.layers.2.input_layernorm.weight", 16)]),
    UserError,
    "model.layers.2.input_layernorm.weight: not part of this model, found [16]",
  );
  const name = "model.layers.0.mlp.up_proj.weight";
  await assertRejects(
    () => openSpoiled((list) => [...without(name)(list), tensorOf(name, 16, 20)]),
    UserError,
    `${name}: expected [20,16], found [16,20]`,
  );
  await assertRejects(
    () => openSpoiled((list) => [...list, tensorOf("lm_head.weight", 12, 16)].filter((t) => t.name !== name)),
    UserError,
    `:\n  ${name}: missing, expected [20,16]`,
  );
  const error = await assertRejects(() => openSpoiled((list) => list.slice(0, -9)), UserError, "and 4 more");
  assertEquals(error.message.split("\n").length, 1 + 5 + 1);
  const untied = makeConfig({ tie_word_embeddings: false });
  await assertRejects(
    () => openSpoiled(without("lm_head.weight"), untied),
    UserError,
    "lm_head.weight: missing",
  );
});

Deno.test("checkpoint: what old folders hold besides the parameters is ignored", () =>
  openSpoiled((list) => [
    ...list,
    tensorOf("lm_head.weight", 12, 16),
    tensorOf("model.layers.0.self_attn.rotary_emb.inv_freq", 4),
  ]));

Deno.test("checkpoint: a weight that is no float is refused", () =>
  withFolder(async (folder) => {
    const file = `${folder}/model.safetensors`;
    await writeSafetensors(file, makeTensors(makeConfig()));
    const bytes = await Deno.readFile(file);
    const text = new TextDecoder("latin1").decode(bytes);
    bytes[text.indexOf('"F32"', text.indexOf("model.norm.weight")) + 1] = "I".charCodeAt(0);
    await Deno.writeFile(file, bytes);
    await assertRejects(
      () => openCheckpoint(folder, makeConfig()),
      UserError,
      "model.norm.weight: expected F32, F16 or BF16, found I32",
    );
  }));

Deno.test("checkpoint: folders without readable weights say what is wrong", () =>
  withFolder(async (folder) => {
    const open = () => openCheckpoint(folder, makeConfig());
    const index = `${folder}/model.safetensors.index.json`;
    await assertRejects(open, UserError, "found neither model.safetensors nor");
    await Deno.writeTextFile(`${folder}/pytorch_model.bin`, "");
    await assertRejects(open, UserError, "pytorch_model.bin cannot be read");
    await Deno.writeTextFile(index, "{");
    await assertRejects(open, UserError, "not JSON");
    await Deno.writeTextFile(index, "{}");
    await assertRejects(open, UserError, "has no weight_map");
    await Deno.writeTextFile(index, JSON.stringify({ weight_map: { a: "../a.safetensors" } }));
    await assertRejects(open, UserError, '"../a.safetensors"');
    await writeSafetensors(`${folder}/s.safetensors`, [tensorOf("b", 1)]);
    await Deno.writeTextFile(index, JSON.stringify({ weight_map: { a: "s.safetensors" } }));
    await assertRejects(open, UserError, "has no tensor a, though model.safetensors.index.json names it");
    await Deno.mkdir(`${folder}/run.old-1`);
    await assertRejects(
      () => openCheckpoint(`${folder}/run`, makeConfig()),
      UserError,
      "run.old-1: rename it back",
    );
  }));

Deno.test("checkpoint: saving again replaces the folder, copies the tokenizer's files and writes what else is asked", () =>
  withFolder(async (folder) => {
    const config = makeConfig();
    const out = `${folder}/out`;
    await saveCheckpoint(out, { config, tensors: makeTensors(config, 1), shardBytes: 1000 });
    await Deno.writeTextFile(`${out}/tokenizer.json`, "the tokenizer");
    await Deno.chmod(`${out}/tokenizer.json`, 0o444);
    await Deno.writeTextFile(`${out}/generation_config.json`, "{}");
    await Deno.writeTextFile(`${out}/stale.json`, "{}");
    await saveCheckpoint(out, {
      config,
      tensors: makeTensors(config, 2),
      copyFrom: out,
      alsoWrite: (fresh) => Deno.writeTextFile(`${fresh}/cursor.json`, "7"),
    });
    assertEquals(Object.keys(await contents(out)).sort(), [
      "config.json",
      "cursor.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    assertEquals(await Deno.readTextFile(`${out}/tokenizer.json`), "the tokenizer");
    await Deno.writeTextFile(`${out}/tokenizer.json`, "still writable");
    await assertHolds(out, makeTensors(config, 2));
    assertEquals(Object.keys(await contents(folder)), ["out"]);
  }));

Deno.test("checkpoint: a failed save leaves the earlier checkpoint and nothing else", () =>
  withFolder(async (folder) => {
    const config = makeConfig();
    const out = `${folder}/out`;
    await saveCheckpoint(out, { config, tensors: makeTensors(config) });
    const before = await contents(out);
    const next = makeTensors(config, 2);
    function* breaking(): Generator<NamedTensor> {
      yield* next.slice(0, 5);
      throw new Error("device lost");
    }
    const attempts: [Iterable<NamedTensor>, string][] = [
      [breaking(), "device lost"],
      [next.slice(1), `${next[0].name} was never written`],
      [[...next, next[0]], `${next[0].name} is written twice`],
      [[{ ...next[0], shape: [16, 12] }], `${next[0].name}: expected [12,16], got [16,12]`],
      [[{ ...next[0], name: "lm_head.weight" }], "lm_head.weight [12,16] is not a parameter"],
    ];
    for (const [tensors, message] of attempts) {
      await assertRejects(() => saveCheckpoint(out, { config, tensors }), Error, message);
      assertEquals(await contents(out), before);
      assertEquals(Object.keys(await contents(folder)), ["out"]);
    }
  }));

Deno.test("checkpoint: a folder that is no checkpoint is never replaced", () =>
  withFolder(async (folder) => {
    const config = makeConfig();
    await Deno.writeTextFile(`${folder}/thesis.tex`, "years of work");
    const save = (out: string) => saveCheckpoint(out, { config, tensors: makeTensors(config) });
    await assertRejects(() => save(folder), UserError, "holds no config.json");
    await assertRejects(() => save(`${folder}/thesis.tex`), UserError, "holds no config.json");
    assertEquals(await Deno.readTextFile(`${folder}/thesis.tex`), "years of work");
    await Deno.mkdir(`${folder}/empty`);
    await save(`${folder}/empty`);
    await assertHolds(`${folder}/empty`, makeTensors(config));
  }));

/** A process of its own that saves f32 weights over the checkpoint it is given and prints how that went. */
const SAVE_AGAIN = `
  const [models, folder] = Deno.args;
  const { loadModelConfig, parameterShapes } = await import(models + "/config.ts");
  const { saveCheckpoint } = await import(models + "/checkpoint_folder.ts");
  const config = await loadModelConfig(folder);
  function* tensors() {
    for (const [name, shape] of parameterShapes(config)) {
      yield { name, shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
    }
  }
  await saveCheckpoint(folder, { config, tensors: tensors() }).then(
    () => console.log("saved"),
    (error) => console.log(error.name + ": " + error.message),
  );`;

/**
 * Saves 1.3 MB of bf16 weights in `root`, then 2.6 MB of f32 over them where the system has no room: after the shell
 * lines `limits`, or because `root` is small. The first checkpoint must stay.
 */
async function checkNoRoom(root: string, limits: string, reason: string): Promise<void> {
  const config = makeConfig({ vocab_size: 40_000 });
  const out = `${root}/out`;
  await saveCheckpoint(out, { config, tensors: makeTensors(config), dtype: "bfloat16" });
  const before = await contents(out);
  await withFolder(async (work) => {
    await Deno.writeTextFile(`${work}/save_again.ts`, SAVE_AGAIN);
    const models = new URL("../../models", import.meta.url).href;
    const { stdout, stderr } = await new Deno.Command("sh", {
      args: [
        "-c",
        `${limits} exec "$0" run -A --no-lock --no-config "$@"`,
        Deno.execPath(),
        `${work}/save_again.ts`,
      ]
        .concat(models, out),
      env: { DENO_DIR: `${work}/deno` },
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert(text.startsWith("UserError: ") && text.includes(reason), text + new TextDecoder().decode(stderr));
    assert(text.includes("the checkpoint that was there is unchanged"), text);
  });
  assertEquals(await contents(out), before);
  assertEquals(Object.keys(await contents(root)), ["out"]);
  await assertHolds(out, makeTensors(config));
}

Deno.test({
  name: "checkpoint: a file the system will not let grow leaves the earlier checkpoint",
  ignore: Deno.build.os === "windows",
  // 2048 blocks are 1 MiB or 2 MiB, as the shell counts; ignoring the signal turns it into a failed write.
  fn: () => withFolder((folder) => checkNoRoom(folder, 'trap "" XFSZ; ulimit -f 2048;', "too large")),
});

/** Runs `use` in a disk of 3 MiB mounted in `folder`; false where mounting is not allowed. */
async function withSmallDisk(folder: string, use: (disk: string) => Promise<void>): Promise<boolean> {
  const run = (command: string, ...args: string[]): Promise<boolean> =>
    new Deno.Command(command, { args, stderr: "null" }).output().then(({ success }) => success, () => false);
  if (!await run("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder)) return false;
  try {
    await use(folder);
  } finally {
    await run("umount", folder);
  }
  return true;
}

let canMount = false;
await withFolder(async (folder) => {
  canMount = await withSmallDisk(folder, () => Promise.resolve());
});

Deno.test({
  name: "checkpoint: a full disk leaves the earlier checkpoint (needs the right to mount one)",
  ignore: !canMount,
  fn: () =>
    withFolder(async (folder) => {
      assert(await withSmallDisk(folder, (disk) => checkNoRoom(disk, "", "No space left")));
    }),
});
