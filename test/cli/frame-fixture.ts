/** The program's frame with commands made for tests: what a command may do wrong, without the rooms below. */
import type { CommandRun, CommandSpec } from "../../cli/command.ts"
import { run } from "../../cli/run.ts"
import { GridError } from "#core/errors.ts"

function command<Options>(name: string, act: CommandRun<Options>): CommandSpec {
  return {
    name,
    group: "Tests",
    summary: `does what ${name} does`,
    arguments: [{ name: "WORD", description: "a word", required: false }],
    options: [{ flags: "--number <N>", description: "a number" }],
    examples: [`imagegrid ${name}`],
    home: "needed",
    load: async () => ({ default: act }),
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    // Something to live for until then.
    const living = setInterval(() => {}, 1_000)
    signal.addEventListener("abort", () => {
      clearInterval(living)
      resolve()
    })
  })
}

await run(process, [
  command<{ readonly number?: string }>("echo", async ({ output, home }, args, options) => {
    output.event("echo", { args, number: options.number ?? null, home: home() })
    output.say(`${args.join(" ")} ${options.number ?? ""} ${home()}`)
  }),
  command("refuse", async () => {
    throw new GridError("IMAGE_UNKNOWN", "\u001b[2Jforged\nimagegrid: OK")
  }),
  command("break", async () => {
    throw new TypeError("a defect")
  }),
  command("break-later", async ({ output }) => {
    output.event("ready", {})
    setTimeout(() => {
      throw new TypeError("a defect behind")
    }, 1)
    await new Promise(() => {})
  }),
  command("no-room", async () => {
    throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" })
  }),
  command("leave", async ({ output, signal }) => {
    output.event("ready", {})
    await aborted(signal)
    output.event("leaving", {})
  }),
  command("give-up", async ({ output, signal }) => {
    output.event("ready", {})
    await aborted(signal)
    signal.throwIfAborted()
  }),
  command("give-up-otherwise", async ({ output, signal }) => {
    output.event("ready", {})
    await aborted(signal)
    throw new DOMException("This operation was aborted", "AbortError")
  }),
  command("stay", async ({ output, signal }) => {
    output.event("ready", {})
    await aborted(signal)
    output.event("staying", {})
    setInterval(() => {}, 1_000)
    await new Promise(() => {})
  }),
  command("talk", async ({ output, signal }) => {
    while (!signal.aborted) {
      output.say("words ".repeat(1_000))
      await new Promise((resolve) => setImmediate(resolve))
    }
    signal.throwIfAborted()
  }),
])
