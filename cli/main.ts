/** The program `imagegrid`. */
import { commands } from "./commands.ts"
import { run } from "./run.ts"

await run(process, commands)
