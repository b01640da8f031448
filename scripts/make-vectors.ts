/** Writes the test vectors below test/vectors/ anew: `scripts/node scripts/make-vectors.ts`. The same bytes each time, unless the format has changed. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { vectorFiles } from "./vectors/vectors.ts"

const directory = fileURLToPath(new URL("../test/vectors/", import.meta.url))
const files = vectorFiles()
rmSync(`${directory}sets`, { recursive: true, force: true })
mkdirSync(`${directory}sets`, { recursive: true })
for (const [path, text] of files) writeFileSync(directory + path, text)
console.log(`${files.size} files below ${directory}`)
