/** The source files of this checkout. */
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

export const root = join(import.meta.dirname, "../..")

/** Paths from the root, with "/", to text. Files that git ignores are not here, dotted ones neither. */
export function sourceFiles(): Map<string, string> {
  const paths = globSync("*/**/*.{ts,mts,cts,js,mjs,cjs}", { cwd: root, exclude: ["node_modules/**", "stubs/**", "bench/out/**"] })
  return new Map(paths.sort().map((path) => [path, readFileSync(join(root, path), "utf8")]))
}

export function rootFile(path: string): string {
  return readFileSync(join(root, path), "utf8")
}
