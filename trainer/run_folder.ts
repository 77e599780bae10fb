/**
 * The folder that holds everything a run knows: `config.yaml` (resolved), `metrics.jsonl`,
 * `generations.jsonl`, `pictures/`, `summary.json`, `report.html`, `checkpoints/` with the tracker `latest.json`, and `lock`,
 * which the process that trains there holds.
 * @module
 */
import { basename, dirname, join, resolve } from "node:path";
import { UserError } from "../gpu/errors.ts";
import { removeIfThere, saveError, syncToDisk, writeAtomically } from "./atomic_write.ts";
import { findDamage, type Manifest, readManifest, writeManifest } from "./manifest.ts";

/** A checkpoint whose files are as they were saved. */
export interface Checkpoint {
  /** For example `aepo_step_20`. */
  name: string;
  /** Its folder. */
  path: string;
}

/** A run's folder on disk. */
export class RunFolder {
  /** The folder itself. */
  readonly path: string;
  /** Checkpoints kept after a save; −1 keeps all. */
  readonly saveLimit: number;
  #lock: Deno.FsFile | undefined;

  private constructor(path: string, saveLimit: number) {
    this.path = path;
    this.saveLimit = saveLimit;
  }

  /** Opens the folder of a run, made if need be; what is in it stays. */
  static async open(path: string, saveLimit: number): Promise<RunFolder> {
    const folder = new RunFolder(path, saveLimit);
    try {
      await Deno.mkdir(folder.checkpointsPath, { recursive: true });
    } catch (error) {
      throw saveError(path, error);
    }
    return folder;
  }

  /**
   * An empty folder for a new run; an earlier run's folder of that name is renamed, and `movedTo` says to what.
   * @throws UserError while another process trains there
   */
  static async fresh(path: string, saveLimit: number): Promise<{ folder: RunFolder; movedTo?: string }> {
    if (!await exists(path)) return { folder: await RunFolder.open(path, saveLimit) };
    // Renaming it under a run that is still going would tear that run apart.
    (await takeLock(path)).close();
    let n = 1;
    while (await exists(`${path}-${n}`)) n++;
    await Deno.rename(path, `${path}-${n}`);
    return { folder: await RunFolder.open(path, saveLimit), movedTo: `${path}-${n}` };
  }

  /**
   * Finds where to go on: `path` is a run's folder (its newest sound checkpoint) or one checkpoint's folder.
   * @param say told about each checkpoint that is passed over, and why
   * @throws UserError if there is no sound checkpoint
   */
  static async resume(
    path: string,
    saveLimit: number,
    say: (line: string) => void,
  ): Promise<{ folder: RunFolder; checkpoint: Checkpoint }> {
    const manifest = await readManifest(path);
    if (typeof manifest !== "string") {
      const damage = await findDamage(path, manifest);
      if (damage !== undefined) throw new UserError(`cannot resume from ${path}: ${damage}`);
      const run = dirname(dirname(resolve(path)));
      return {
        folder: await RunFolder.open(run, saveLimit),
        checkpoint: { name: basename(resolve(path)), path },
      };
    }
    if (!await exists(join(path, "checkpoints"))) {
      throw new UserError(
        `cannot resume from ${path}: it is neither a run's folder nor a checkpoint (${manifest})`,
      );
    }
    const folder = await RunFolder.open(path, saveLimit);
    const checkpoint = await folder.latest(say);
    if (checkpoint === undefined) {
      throw new UserError(`cannot resume from ${path}: it has no sound checkpoint`);
    }
    return { folder, checkpoint };
  }

  /**
   * Keeps other processes out until {@link unlock}, or until this one ends, however it ends.
   * @throws UserError while another process trains there
   */
  async lock(): Promise<void> {
    this.#lock ??= await takeLock(this.path);
  }

  /** Lets others in. */
  unlock(): void {
    this.#lock?.close();
    this.#lock = undefined;
  }

  /** Where the resolved configuration is. */
  get configPath(): string {
    return join(this.path, "config.yaml");
  }

  /** Where the metrics are. */
  get metricsPath(): string {
    return join(this.path, "metrics.jsonl");
  }

  /** Where the sampled texts are. */
  get generationsPath(): string {
    return join(this.path, "generations.jsonl");
  }

  /** Where the summary is. */
  get summaryPath(): string {
    return join(this.path, "summary.json");
  }

  /** Where small copies of the problems' pictures are. */
  get picturesPath(): string {
    return join(this.path, "pictures");
  }

  /** Where the checkpoints are. */
  get checkpointsPath(): string {
    return join(this.path, "checkpoints");
  }

  /**
   * Saves a checkpoint: `write` fills a temporary folder; then manifest, fsync, rename, tracker, and last the
   * oldest beyond the limit go. A kill at any moment leaves the ones before, or also the new one.
   * @returns the checkpoint's folder
   * @throws UserError if the system refuses (a full disk): the earlier checkpoints are then untouched
   */
  async checkpoint(name: string, write: (folder: string) => Promise<void>): Promise<string> {
    const path = join(this.checkpointsPath, name);
    const temporary = `${path}.tmp`;
    const earlier = await this.#list();
    try {
      await this.#sweep();
      await Deno.mkdir(temporary);
      await write(temporary);
      await writeManifest(temporary, (earlier.at(-1)?.manifest.sequence ?? 0) + 1);
      await syncToDisk(temporary);
      const before = earlier.find((old) => old.name === name);
      if (before !== undefined) await Deno.rename(path, `${path}.replaced`);
      else await removeIfThere(path);
      await Deno.rename(temporary, path);
      await syncToDisk(this.checkpointsPath);
    } catch (error) {
      await removeIfThere(temporary);
      const last = earlier.at(-1)?.path;
      const kept = last === undefined ? "no earlier one exists" : `the last good one stays: ${last}`;
      if (error instanceof UserError) throw new UserError(`${error.message} (${kept})`, { cause: error });
      throw saveError(`checkpoint ${path} (${kept})`, error);
    }
    await writeAtomically(join(this.checkpointsPath, "latest.json"), JSON.stringify({ latest: name }));
    await this.#rotate();
    return path;
  }

  /**
   * The newest checkpoint whose files are all as saved.
   * @param say told about each newer one that is not, and why
   */
  async latest(say: (line: string) => void): Promise<Checkpoint | undefined> {
    for (const { name, path, manifest } of (await this.#list(say)).reverse()) {
      const damage = await findDamage(path, manifest);
      if (damage === undefined) return { name, path };
      say(`checkpoint ${path} is passed over: ${damage}`);
    }
    return undefined;
  }

  /** Everything with a readable manifest, oldest first. Temporary folders are what a kill left behind. */
  async #list(say?: (line: string) => void): Promise<(Checkpoint & { manifest: Manifest })[]> {
    const found = [];
    for await (const entry of Deno.readDir(this.checkpointsPath)) {
      if (!entry.isDirectory || entry.name.endsWith(".tmp")) continue;
      const path = join(this.checkpointsPath, entry.name);
      const manifest = await readManifest(path);
      if (typeof manifest === "string") say?.(`checkpoint ${path} is passed over: ${manifest}`);
      else found.push({ name: entry.name, path, manifest });
    }
    return found.sort((a, b) => a.manifest.sequence - b.manifest.sequence);
  }

  /** Removes what killed saves left behind. */
  async #sweep(): Promise<void> {
    for await (const entry of Deno.readDir(this.checkpointsPath)) {
      if (entry.name.endsWith(".tmp")) await removeIfThere(join(this.checkpointsPath, entry.name));
    }
  }

  /** Renames before removing, so that a kill in between leaves no half checkpoint under a good name. */
  async #rotate(): Promise<void> {
    const all = await this.#list();
    const named = all.filter((checkpoint) => !checkpoint.name.endsWith(".replaced"));
    const kept = this.saveLimit === -1 ? named : named.slice(-this.saveLimit);
    for (const old of all.filter((checkpoint) => !kept.includes(checkpoint))) {
      await Deno.rename(old.path, `${old.path}.tmp`);
    }
    await this.#sweep();
  }
}

/** The folder's lock; closing it gives it back. */
async function takeLock(path: string): Promise<Deno.FsFile> {
  const file = await Deno.open(join(path, "lock"), { write: true, create: true }).catch((error) => {
    throw saveError(path, error);
  });
  if (await file.tryLock(true)) return file;
  file.close();
  throw new UserError(
    `another process trains in ${path}: wait for it, or give this run a folder of its own ` +
      "(trainer.save_checkpoint_path, or --run NAME)",
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
