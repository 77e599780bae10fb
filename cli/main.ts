/**
 * The command line: parses, loads only the chosen command's module, and turns errors into exit codes
 * (0 done, 1 a fault of the program or the machine, 2 something the user can mend).
 * @module
 */
import { CommanderError } from "commander";
import { UserError } from "../gpu/errors.ts";
import { parseArguments } from "./arguments.ts";

/**
 * Runs one command line (without program name) and returns its exit code.
 * @param commands where the commands' modules lie: `<name>.ts` exporting `<name>(args): Promise<number>`
 */
export async function main(
  argv: readonly string[],
  commands: URL = new URL("./", import.meta.url),
): Promise<number> {
  try {
    const invocation = parseArguments(argv);
    if (invocation.command === "help-config") {
      const { configTable } = await import("../trainer/config.ts");
      console.log(configTable());
      return 0;
    }
    // A computed address: a literal one would make Deno load every command's modules for each.
    const module = await import(new URL(`${invocation.command}.ts`, commands).href);
    return await module[invocation.command](invocation.args);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof UserError) {
      console.error(`error: ${error.message}`);
      return 2;
    }
    console.error(error);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
